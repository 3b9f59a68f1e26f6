//! The tile unit in plain code, instruction by instruction as the manual's pseudocode has it, so that the kernels can be held against
//! their twins on any processor with AVX-512.

use std::cell::RefCell;

use super::unit::{ROW_BYTES, ROWS, Shapes, Unit};

type Tile = [[u8; ROW_BYTES]; ROWS];

/// Tiles in memory, those of each thread its own.
pub(super) struct Emulated;

thread_local! {
    static TILES: RefCell<Option<(Shapes, [Tile; 8])>> = const { RefCell::new(None) };
}

fn with<R>(f: impl FnOnce(&Shapes, &mut [Tile; 8]) -> R) -> R {
    TILES.with_borrow_mut(|tiles| {
        let (shapes, tiles) = tiles.as_mut().expect("tiles are configured");
        f(shapes, tiles)
    })
}

/// What four bytes of a row of `A` and four of a row of `B` are, one after the other along `K`.
type Terms<'a> = &'a mut dyn Iterator<Item = ([u8; 4], [u8; 4])>;

/// Makes each four bytes of `C` what `dot` makes of them and their terms.
fn product<const C: usize, const A: usize, const B: usize>(
    dot: impl Fn([u8; 4], Terms) -> [u8; 4],
) {
    with(|shapes, tiles| {
        let ((rows, out), (a_rows, a_bytes), (b_rows, b_bytes)) =
            (shapes.of(C), shapes.of(A), shapes.of(B));
        assert!(
            rows == a_rows && out == b_bytes && 4 * b_rows == a_bytes,
            "shapes of tiles {C}, {A} and {B}"
        );
        for (row, col) in (0..rows).flat_map(|row| (0..out / 4).map(move |col| (row, col))) {
            let term = |i: usize| (four(&tiles[A][row], i), four(&tiles[B][i], col));
            let sum = dot(four(&tiles[C][row], col), &mut (0..b_rows).map(term));
            tiles[C][row][4 * col..][..4].copy_from_slice(&sum);
        }
    });
}

fn four(row: &[u8; ROW_BYTES], i: usize) -> [u8; 4] {
    std::array::from_fn(|j| row[4 * i + j])
}

/// A sum of products of bytes, in which those of `B` stand for what `of_b` says.
fn bytes(old: [u8; 4], terms: Terms, of_b: impl Fn(u8) -> i32) -> [u8; 4] {
    let mut sum = i32::from_ne_bytes(old);
    for (a, b) in terms {
        for (a, b) in a.into_iter().zip(b) {
            sum = sum.wrapping_add(i32::from(a as i8) * of_b(b));
        }
    }
    sum.to_ne_bytes()
}

/// Sums of the even terms and of the odd ones, each from zero on, together added to what is there.
fn halves(old: [u8; 4], terms: Terms) -> [u8; 4] {
    let bf16 = |low: u8, high: u8| flushed(f32::from_bits(u32::from_ne_bytes([0, 0, low, high])));
    let mut sums = [0f32; 2];
    for (a, b) in terms {
        for (half, sum) in sums.iter_mut().enumerate() {
            let [a, b] = [a, b].map(|x| bf16(x[2 * half], x[2 * half + 1]));
            *sum = flushed(a.mul_add(b, *sum));
        }
    }
    let both = flushed(sums[0] + sums[1]);
    flushed(flushed(f32::from_ne_bytes(old)) + both).to_ne_bytes()
}

/// What the unit makes of numbers that are too small for an exponent.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() {
        0f32.copysign(x)
    } else {
        x
    }
}

impl Unit for Emulated {
    unsafe fn configure(shapes: &Shapes) {
        TILES.set(Some((*shapes, [[[0; ROW_BYTES]; ROWS]; 8])));
    }

    unsafe fn release() {
        TILES.set(None);
    }

    unsafe fn zero<const C: usize>() {
        with(|_, tiles| tiles[C] = [[0; ROW_BYTES]; ROWS]);
    }

    unsafe fn load<const T: usize>(from: *const u8, stride: usize) {
        with(|shapes, tiles| {
            let (rows, bytes) = shapes.of(T);
            assert!(rows > 0, "tile {T} has a shape");
            tiles[T] = [[0; ROW_BYTES]; ROWS];
            for (row, to) in tiles[T][..rows].iter_mut().enumerate() {
                let to = to.as_mut_ptr();
                // SAFETY: the caller gives so many bytes of each row, of which a tile's has no more.
                unsafe { to.copy_from_nonoverlapping(from.add(row * stride), bytes) }
            }
        });
    }

    unsafe fn store<const T: usize>(to: *mut u8, stride: usize) {
        with(|shapes, tiles| {
            let (rows, bytes) = shapes.of(T);
            assert!(rows > 0, "tile {T} has a shape");
            for (row, from) in tiles[T][..rows].iter().enumerate() {
                // SAFETY: the caller gives so many bytes of each row.
                unsafe {
                    to.add(row * stride)
                        .copy_from_nonoverlapping(from.as_ptr(), bytes);
                }
            }
        });
    }

    unsafe fn add_i8<const C: usize, const A: usize, const B: usize>() {
        product::<C, A, B>(|old, terms| bytes(old, terms, |b| i32::from(b as i8)));
    }

    unsafe fn add_u8<const C: usize, const A: usize, const B: usize>() {
        product::<C, A, B>(|old, terms| bytes(old, terms, i32::from));
    }

    unsafe fn add_bf16<const C: usize, const A: usize, const B: usize>() {
        product::<C, A, B>(halves);
    }
}
