//! The order in which threads get processors, by what the system says of cores.

use std::path::Path;

/// Where Linux describes devices.
pub(super) const DEVICES: &str = "/sys/devices";

/// What the system says of a processor; the first in order is the first that a thread gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Which of the processors of its core, those this process may not use left out: the second of a core adds least.
    sibling: usize,
    /// Whether its core is of the slower kind, where there are two.
    is_slow: bool,
    cpu: usize,
}

/// One processor of each core before the second ones, fast cores before slow ones.
pub(super) fn sorted(devices: &Path, cpus: &[usize]) -> Vec<usize> {
    let slow = slow(devices, cpus);
    let place = |&cpu: &usize| Place {
        sibling: siblings(devices, cpu)
            .into_iter()
            .filter(|other| *other < cpu && cpus.contains(other))
            .count(),
        is_slow: slow.contains(&cpu),
        cpu,
    };
    let mut places: Vec<Place> = cpus.iter().map(place).collect();
    places.sort();
    places.into_iter().map(|place| place.cpu).collect()
}

/// Processors of a core.
fn siblings(devices: &Path, cpu: usize) -> Vec<usize> {
    listed(&of_cpu(devices, cpu, "topology/thread_siblings_list"))
}

/// Those of `cpus` whose cores are slow: the small ones of Intel's hybrid processors, or, where the system counts what cores are worth, those below three
/// quarters of the largest.
fn slow(devices: &Path, cpus: &[usize]) -> Vec<usize> {
    let small = listed(&text(&devices.join("cpu_atom/cpus")));
    let worth = |cpu: usize| of_cpu(devices, cpu, "cpu_capacity").trim().parse::<u64>();
    let most = cpus.iter().filter_map(|cpu| worth(*cpu).ok()).max();
    let is_slow = |cpu: &usize| {
        let below = most.zip(worth(*cpu).ok());
        small.contains(cpu) || below.is_some_and(|(most, own)| 4 * own < 3 * most)
    };
    cpus.iter().copied().filter(is_slow).collect()
}

fn of_cpu(devices: &Path, cpu: usize, file: &str) -> String {
    text(&devices.join(format!("system/cpu/cpu{cpu}")).join(file))
}

/// Empty where there is no such file.
fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The numbers of a list as Linux writes it: `0,64` or `0-3,8`.
fn listed(text: &str) -> Vec<usize> {
    /// More than any machine has.
    const MOST: usize = 1 << 16;
    let range = |part: &str| -> Option<std::ops::RangeInclusive<usize>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let [first, last] = [first, last].map(|n| n.trim().parse().ok());
        Some(first?..=last?).filter(|range| *range.end() < MOST)
    };
    text.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder as Linux has it, with these files.
    fn devices(files: &[(String, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn siblings_of(cpu: usize, list: &str) -> (String, &str) {
        (
            format!("system/cpu/cpu{cpu}/topology/thread_siblings_list"),
            list,
        )
    }

    #[test]
    fn lists() {
        assert_eq!(listed("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(listed("0,64"), [0, 64]);
        assert!(listed("").is_empty());
        assert_eq!(listed("3-1, x, 0-99999999999, 5"), [5]);
    }

    #[test]
    fn cores_before_their_second_threads() {
        let pairs = [(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")];
        let dir = devices(&pairs.map(|(cpu, list)| siblings_of(cpu, list)));
        assert_eq!(sorted(dir.path(), &[0, 1, 2, 3]), [0, 1, 2, 3]);
        let dir = devices(&[(0, "0-1"), (1, "0-1")].map(|(cpu, list)| siblings_of(cpu, list)));
        assert_eq!(sorted(dir.path(), &[0, 1, 2]), [0, 2, 1]);
        // Of a core whose first thread belongs to others, the second is the first.
        assert_eq!(sorted(dir.path(), &[1, 2]), [1, 2]);
    }

    #[test]
    fn fast_cores_before_slow_ones() {
        let mut files: Vec<_> = (2..6)
            .map(|cpu| siblings_of(cpu, if cpu < 4 { "2-3" } else { "4-5" }))
            .collect();
        files.push(("cpu_atom/cpus".to_string(), "0-1"));
        let dir = devices(&files);
        assert_eq!(sorted(dir.path(), &[0, 1, 2, 3, 4, 5]), [2, 4, 0, 1, 3, 5]);
        let capacity = |(cpu, text)| (format!("system/cpu/cpu{cpu}/cpu_capacity"), text);
        let dir = devices(&[(0, "400"), (1, "980"), (2, "1024\n")].map(capacity));
        assert_eq!(sorted(dir.path(), &[0, 1, 2]), [1, 2, 0]);
    }

    #[test]
    fn as_they_are_numbered_where_nothing_is_said() {
        let dir = devices(&[]);
        assert_eq!(sorted(dir.path(), &[3, 0, 5]), [0, 3, 5]);
    }
}
