//! Writes a file in pieces that end where large pages end, so that the system keeps it in large pages from the start.

use std::io::{self, Write};

use graver_runtime::pages::LARGE_PAGE;

/// Collects what is written. What is left at the end has to be flushed.
pub(super) struct LargePieces<W> {
    out: W,
    waiting: Vec<u8>,
    /// Where in the file the waiting bytes begin.
    at: u64,
}

impl<W: Write> LargePieces<W> {
    /// Goes on at byte `at` of a file.
    pub(super) fn new(out: W, at: u64) -> LargePieces<W> {
        LargePieces {
            out,
            waiting: Vec::with_capacity(LARGE_PAGE),
            at,
        }
    }

    /// Bytes that may still wait before the end of a large page.
    fn room(&self) -> usize {
        let filled = (self.at % LARGE_PAGE as u64) as usize + self.waiting.len();
        LARGE_PAGE - filled
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.waiting)?;
        self.at += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

impl<W: Write> Write for LargePieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.room());
        self.waiting.extend_from_slice(&bytes[..n]);
        if self.room() == 0 {
            self.pass_on()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes where each write ends.
    #[derive(Default)]
    struct Ends(Vec<usize>);

    impl Write for Ends {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let before = self.0.last().copied().unwrap_or(0);
            self.0.push(before + bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_end_where_large_pages_do() {
        let mut out = LargePieces::new(Ends::default(), 5000);
        for n in [1, LARGE_PAGE - 5001, 17, 3 * LARGE_PAGE, 0, 9] {
            out.write_all(&vec![7; n]).unwrap();
        }
        out.flush().unwrap();
        let end = 4 * LARGE_PAGE + 17 + 9;
        let ends: Vec<_> = out.out.0.iter().map(|n| n + 5000).collect();
        assert_eq!(
            ends,
            [1, 2, 3, 4]
                .map(|n| n * LARGE_PAGE)
                .into_iter()
                .chain([end])
                .collect::<Vec<_>>()
        );
    }
}
