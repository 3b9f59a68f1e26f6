//! Conversions are exact: every bit is the scalar twin's.

use graver_runtime::abi::KernelTable;
use graver_runtime::kernels::scalar_table;

use crate::arrays::{Guarded, Random};
use crate::sets;

type Narrow = unsafe extern "C" fn(*const f32, usize, *mut u8);
type Widen = unsafe extern "C" fn(*const u8, usize, *mut f32);

fn narrow(f: Narrow, x: &[f32]) -> Vec<u16> {
    let (from, mut to) = (Guarded::of_f32(x), Guarded::new(&vec![0; 2 * x.len()]));
    // SAFETY: both arrays have as many elements.
    unsafe {
        f(from.ptr().cast(), x.len(), to.ptr_mut());
        let read = |i| to.ptr().cast::<u16>().add(i).read_unaligned();
        (0..x.len()).map(read).collect()
    }
}

fn widen(f: Widen, x: &[u16]) -> Vec<u32> {
    let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    let (from, mut to) = (Guarded::new(&bytes), Guarded::new(&vec![0; 4 * x.len()]));
    // SAFETY: both arrays have as many elements.
    unsafe { f(from.ptr(), x.len(), to.ptr_mut().cast()) };
    to.f32s(x.len()).iter().map(|v| v.to_bits()).collect()
}

/// Values of all exponents, ties, and the exceptional ones.
fn values() -> Vec<f32> {
    let all_bits = (0..1u32 << 18).map(|i| f32::from_bits(i << 14 | i >> 11));
    let ties = (0..1u32 << 16).map(|i| f32::from_bits(i << 16 | 0x8000));
    let ties_of_f16 = (0..1u32 << 19).map(|i| f32::from_bits(i << 13 | 0x1000));
    let random = Random::new(3).values(1 << 16);
    let any = all_bits.chain(ties).chain(ties_of_f16).chain(random);
    any.filter(|v| !v.is_nan()).collect()
}

#[test]
fn narrowing() {
    let choose: [fn(&KernelTable) -> Narrow; 2] = [|t| t.f32_to_bf16, |t| t.f32_to_f16];
    let x = values();
    for choose in choose {
        let expected = narrow(choose(scalar_table()), &x);
        for (isa, table) in sets() {
            let found = narrow(choose(table), &x);
            let wrong = (0..x.len()).find(|i| found[*i] != expected[*i]);
            assert_eq!(
                wrong.map(|i| (x[i], found[i], expected[i])),
                None,
                "{}",
                isa.name()
            );
            for n in 0..20 {
                assert_eq!(
                    narrow(choose(table), &x[100..100 + n]),
                    expected[100..100 + n]
                );
            }
        }
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    // The payload of the second would be rounded away.
    let x = [f32::NAN, f32::from_bits(0x7f80_0001)];
    for (_, t) in sets() {
        for (to, from) in [(t.f32_to_bf16, t.bf16_to_f32), (t.f32_to_f16, t.f16_to_f32)] {
            let back = widen(from, &narrow(to, &x));
            assert!(back.iter().all(|bits| f32::from_bits(*bits).is_nan()));
        }
    }
}

#[test]
fn widening() {
    let choose: [fn(&KernelTable) -> Widen; 2] = [|t| t.bf16_to_f32, |t| t.f16_to_f32];
    let x: Vec<u16> = (0..=u16::MAX).collect();
    for choose in choose {
        let expected = widen(choose(scalar_table()), &x);
        for (_, table) in sets() {
            let found = widen(choose(table), &x);
            for i in 0..x.len() {
                let nan = f32::from_bits(expected[i]).is_nan() && f32::from_bits(found[i]).is_nan();
                assert!(nan || found[i] == expected[i], "{:#06x}", x[i]);
            }
            for n in 0..20 {
                assert_eq!(
                    widen(choose(table), &x[100..100 + n]),
                    expected[100..100 + n]
                );
            }
        }
    }
}
