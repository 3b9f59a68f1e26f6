//! Areas of a thread's scratch, and how they are laid out.

use graver_runtime::abi::MATMUL_SCRATCH;

/// Some bytes of a thread's scratch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// What it is for, as listings call it.
    pub name: &'static str,
    /// First byte, counted from the start of the thread's scratch.
    pub offset: usize,
    /// How many.
    pub bytes: usize,
}

/// What micro-kernels for products may use, at the start of every thread's scratch. Between products it is free.
pub(crate) const PRODUCTS: Area = Area {
    name: "products",
    offset: 0,
    bytes: MATMUL_SCRATCH,
};

/// Lays areas out one after the other, each on cache lines of its own.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) areas: Vec<Area>,
    end: usize,
}

impl Layout {
    /// Begins after what products may use.
    pub(super) fn new() -> Layout {
        Layout {
            areas: vec![PRODUCTS],
            end: PRODUCTS.bytes,
        }
    }

    /// The next `bytes` bytes.
    pub(super) fn take(&mut self, name: &'static str, bytes: usize) -> Area {
        let area = Area {
            name,
            offset: self.end,
            bytes,
        };
        self.end = (self.end + bytes).next_multiple_of(64);
        if bytes > 0 {
            self.areas.push(area);
        }
        area
    }
}

/// The areas of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// In order; none overlaps another.
    pub areas: Vec<Area>,
}

impl Scratch {
    /// Bytes from the start of a thread's scratch to the end of the last area.
    pub fn bytes(&self) -> usize {
        let end = self.areas.last().map_or(0, |a| a.offset + a.bytes);
        end.next_multiple_of(64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_follow_each_other_on_lines_of_their_own() {
        let mut layout = Layout::new();
        let (a, none, b) = (
            layout.take("a", 5),
            layout.take("none", 0),
            layout.take("b", 64),
        );
        assert_eq!(a.offset, MATMUL_SCRATCH);
        assert_eq!((none.offset, none.bytes), (MATMUL_SCRATCH + 64, 0));
        assert_eq!(b.offset, MATMUL_SCRATCH + 64);
        let scratch = Scratch {
            areas: layout.areas,
        };
        assert_eq!(scratch.areas, [PRODUCTS, a, b], "an empty area is none");
        assert_eq!(scratch.bytes(), MATMUL_SCRATCH + 128);
    }
}
