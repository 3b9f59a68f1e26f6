//! Places of integers and factors in panels.

use super::*;

/// Of two super-blocks, the second short.
const COLUMNS: usize = (SUPER_GROUPS + 2) * GROUP;

fn each_place() -> impl Iterator<Item = (usize, usize)> {
    (0..PANEL_ROWS).flat_map(|lane| (0..COLUMNS).map(move |column| (lane, column)))
}

#[test]
fn integers_have_places_of_their_own() {
    for quant in Quant::ALL {
        let (low, high) = quant.range();
        let mut panel = vec![0u8; quant.panel_bytes(COLUMNS)];
        let value = |lane: usize, column: usize| {
            low + ((lane * 37 + column * 11) as i32) % (high - low + 1)
        };
        for (lane, column) in each_place() {
            quant.put(&mut panel, lane, column, value(lane, column));
        }
        for (lane, column) in each_place() {
            let found = quant.get(&panel, lane, column);
            assert_eq!(
                found,
                value(lane, column),
                "{quant} row {lane} column {column}"
            );
        }
        for group in 0..COLUMNS / GROUP {
            let (head, at) = (quant.head_at(group), quant.group_at(group));
            let heads = &panel[head..head + quant.head_bytes()];
            let factors = &panel[at..at + quant.factor_bytes()];
            assert!(
                heads.iter().chain(factors).all(|byte| *byte == 0),
                "{quant}: the factors are untouched"
            );
        }
    }
}

#[test]
fn a_group_at_once_is_each_integer_by_itself() {
    for quant in Quant::ALL {
        let (low, high) = quant.range();
        let mut one_by_one = vec![0u8; quant.panel_bytes(COLUMNS)];
        let [mut rows, mut at_once] = [(); 2].map(|()| vec![0xA5u8; one_by_one.len()]);
        for group in 0..COLUMNS / GROUP {
            let q: [[i8; GROUP]; PANEL_ROWS] = std::array::from_fn(|lane| {
                std::array::from_fn(|i| {
                    (low + (group * 5 + lane * 37 + i * 11) as i32 % (high - low + 1)) as i8
                })
            });
            for (lane, q) in q.iter().enumerate() {
                for (i, q) in q.iter().enumerate() {
                    quant.put(&mut one_by_one, lane, group * GROUP + i, i32::from(*q));
                }
                quant.put_group(&mut rows, lane, group, q);
            }
            quant.put_groups(&mut at_once, group, q.each_ref());
        }
        assert_eq!(rows, at_once, "{quant}");
        for (lane, column) in each_place() {
            let [a, b] = [&one_by_one, &at_once].map(|p| quant.get(p, lane, column));
            assert_eq!(a, b, "{quant} row {lane} column {column}");
        }
        let untouched = at_once.iter().zip(&one_by_one).filter(|(a, _)| **a == 0xA5);
        assert!(
            untouched.count() >= quant.factor_bytes() * COLUMNS / GROUP,
            "{quant}: factors are untouched"
        );
    }
}

/// Both factors of a row of a group, as every type can say them.
fn factors(lane: usize, group: usize) -> [f32; 2] {
    [(lane + group) as f32 + 0.5, -((lane * 2 + group) as f32)]
}

fn put(quant: Quant, panel: &mut [u8], lane: usize, group: usize) {
    let [first, second] = factors(lane, group);
    let halves = [first, second].map(half::f16::from_f32);
    let at = quant.group_at(group);
    match quant {
        Quant::Q8 | Quant::Q4 => Quant::put_scale(&mut panel[at..], lane, halves[0]),
        Quant::Q4Min | Quant::Q8Min | Quant::Q8Half => {
            Quant::put_factors(&mut panel[at..], lane, [first, second]);
        }
        Quant::Q4Narrow => Quant::put_halves(&mut panel[at..], lane, halves),
        Quant::Q4Super => {
            let units = [0.5, 0.25].map(half::f16::from_f32);
            Quant::put_halves(&mut panel[quant.head_at(group)..], lane, units);
            let bytes = [first / 0.5, -second / 0.25].map(|factor| factor as u8);
            Quant::put_bytes(&mut panel[at..], lane, bytes);
        }
    }
}

#[test]
fn factors_have_places_of_their_own() {
    for quant in Quant::ALL {
        let mut panel = vec![0u8; quant.panel_bytes(COLUMNS)];
        let groups = COLUMNS / GROUP;
        let each = || (0..groups).flat_map(|g| (0..PANEL_ROWS).map(move |lane| (g, lane)));
        each().for_each(|(group, lane)| put(quant, &mut panel, lane, group));
        for (lane, column) in each_place() {
            quant.put(&mut panel, lane, column, 3);
        }
        for (group, lane) in each() {
            let [first, second] = factors(lane, group);
            let expected = match (quant.has_minima(), quant) {
                (true, _) => [3.0 * first + second; 2],
                (false, Quant::Q8Half) => [3.0 * first, 3.0 * second],
                (false, _) => [3.0 * first; 2],
            };
            let columns = [group * GROUP, group * GROUP + GROUP - 1];
            let found = columns.map(|column| quant.value(&panel, lane, column));
            assert_eq!(found, expected, "{quant} row {lane} group {group}");
        }
    }
}

#[test]
fn sizes_are_those_of_the_layout() {
    assert_eq!(
        (Quant::Q8.group_bytes(), Quant::Q4.group_bytes()),
        (272, 144)
    );
    assert_eq!(Quant::Q8.matrix_bytes(9, 33), 2 * 2 * 272);
    let sizes = [256, 33, 257].map(|k| Quant::Q4Super.panel_bytes(k));
    assert_eq!(sizes, [32 + 8 * 144, 32 + 2 * 144, 32 + 8 * 144 + 32 + 144]);
    assert_eq!(Quant::Q4Narrow.group_bytes(), 160);
    assert_eq!(block_row_bytes(33), 2 * 48);
}
