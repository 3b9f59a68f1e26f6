//! Products of tiles and nothing else: what the unit can do at most.

use super::floats::products;
use super::unit::{Hardware, ROW_BYTES, ROWS, Shapes, Unit};
use crate::abi::quant::GROUP;
use crate::kernels::TileLoops;

/// To be called only where [`super::usable`] holds.
pub(in crate::kernels) const LOOPS: TileLoops = TileLoops {
    bf16,
    products,
    int8,
};

/// Products of a round: each of four tiles of sums waits for its own.
const PRODUCTS: usize = 4;

fn bf16(rounds: usize) -> usize {
    // SAFETY: the unit may be used; all tiles have a shape.
    unsafe {
        Hardware::configure(&Shapes::new(&[(ROWS, ROW_BYTES); 8]));
        for _ in 0..rounds {
            Hardware::add_bf16::<0, 4, 6>();
            Hardware::add_bf16::<1, 4, 7>();
            Hardware::add_bf16::<2, 5, 6>();
            Hardware::add_bf16::<3, 5, 7>();
        }
        Hardware::release();
    }
    rounds * PRODUCTS * 2 * ROWS * (ROW_BYTES / 4) * (ROW_BYTES / 2)
}

/// Groups are half as long as a tile's row can be; each has scales of its own.
fn int8(rounds: usize) -> usize {
    let (sums, x, w) = ((ROWS, ROW_BYTES), (ROWS, GROUP), (GROUP / 4, ROW_BYTES));
    // SAFETY: the unit may be used; all tiles that are named have a shape.
    unsafe {
        Hardware::configure(&Shapes::new(&[sums, sums, sums, sums, x, x, w, w]));
        for _ in 0..rounds {
            Hardware::add_i8::<0, 4, 6>();
            Hardware::add_i8::<1, 4, 7>();
            Hardware::add_i8::<2, 5, 6>();
            Hardware::add_i8::<3, 5, 7>();
        }
        Hardware::release();
    }
    rounds * PRODUCTS * 2 * ROWS * (ROW_BYTES / 4) * GROUP
}
