//! The tile unit: eight registers of 16 rows of 64 bytes, and products of them (Intel 64 and IA-32 Architectures Software Developer's
//! Manual, volume 1, chapter 18).

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

/// Rows of a tile.
pub(super) const ROWS: usize = 16;
/// Bytes of a row of a tile.
pub(super) const ROW_BYTES: usize = 64;

/// What the eight tiles hold: as the processor reads it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Shapes {
    palette: u8,
    first_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Each tile's rows and bytes of a row; tiles beyond are not used.
    pub(super) fn new(tiles: &[(usize, usize)]) -> Shapes {
        let mut shapes = Shapes {
            palette: 1,
            first_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        assert!(tiles.len() <= 8, "there are eight tiles");
        for (i, (rows, bytes)) in tiles.iter().enumerate() {
            assert!((1..=ROWS).contains(rows) && (1..=ROW_BYTES).contains(bytes));
            shapes.rows[i] = *rows as u8;
            shapes.row_bytes[i] = *bytes as u16;
        }
        shapes
    }

    /// Rows and bytes of a row of a tile.
    pub(super) fn of(&self, tile: usize) -> (usize, usize) {
        (
            usize::from(self.rows[tile]),
            usize::from(self.row_bytes[tile]),
        )
    }
}

/// Tiles of one thread. `C`, `A` and `B` are places of tiles: `C` has the rows of `A` and the row bytes of `B`, and `B` a row for each four
/// bytes of a row of `A`.
///
/// # Safety
/// Every method wants the unit to be there and allowed. All but `configure` want it configured, with shapes for the tiles that they are about, and
/// not released.
pub(super) trait Unit {
    /// Gives tiles their shapes, and zeros.
    ///
    /// # Safety
    /// As all methods.
    unsafe fn configure(shapes: &Shapes);

    /// Leaves the unit as it was found.
    ///
    /// # Safety
    /// As all methods.
    unsafe fn release();

    /// Zeros.
    ///
    /// # Safety
    /// As all methods.
    unsafe fn zero<const C: usize>();

    /// Reads a tile's rows, `stride` bytes apart.
    ///
    /// # Safety
    /// As all methods; the tile's bytes of so many rows are readable.
    unsafe fn load<const T: usize>(from: *const u8, stride: usize);

    /// Writes a tile's rows, `stride` bytes apart.
    ///
    /// # Safety
    /// As all methods; the tile's bytes of so many rows are writable.
    unsafe fn store<const T: usize>(to: *mut u8, stride: usize);

    /// `C += A · B`, of i8 with i8 in i32: four bytes of a row of `A` with four of a row of `B`.
    ///
    /// # Safety
    /// As all methods.
    unsafe fn add_i8<const C: usize, const A: usize, const B: usize>();

    /// `C += A · B`, of i8 with u8 in i32.
    ///
    /// # Safety
    /// As all methods.
    unsafe fn add_u8<const C: usize, const A: usize, const B: usize>();

    /// `C += A · B`, of bf16 in f32: two of a row of `A` with two of a row of `B`.
    ///
    /// # Safety
    /// As all methods.
    unsafe fn add_bf16<const C: usize, const A: usize, const B: usize>();
}

/// The processor's own. Compiled code holds nothing in tiles, so that the blocks here need not say which they change.
pub(super) struct Hardware;

impl Unit for Hardware {
    #[inline]
    unsafe fn configure(shapes: &Shapes) {
        // SAFETY: the unit may be used; 64 bytes of a valid configuration are read.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) shapes, options(nostack, readonly, preserves_flags));
        }
    }

    #[inline]
    unsafe fn release() {
        // SAFETY: the unit may be used.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }

    #[inline]
    unsafe fn zero<const C: usize>() {
        // SAFETY: the tile is configured.
        unsafe { asm!("tilezero tmm{}", const C, options(nostack, nomem, preserves_flags)) }
    }

    #[inline]
    unsafe fn load<const T: usize>(from: *const u8, stride: usize) {
        // SAFETY: the tile is configured, and its bytes are readable.
        unsafe {
            asm!("tileloadd tmm{}, [{} + {} * 1]", const T, in(reg) from, in(reg) stride, options(nostack, readonly, preserves_flags));
        }
    }

    #[inline]
    unsafe fn store<const T: usize>(to: *mut u8, stride: usize) {
        // SAFETY: the tile is configured, and its bytes are writable.
        unsafe {
            asm!("tilestored [{} + {} * 1], tmm{}", in(reg) to, in(reg) stride, const T, options(nostack, preserves_flags));
        }
    }

    #[inline]
    unsafe fn add_i8<const C: usize, const A: usize, const B: usize>() {
        // SAFETY: the tiles are configured, with shapes that fit together.
        unsafe {
            asm!("tdpbssd tmm{}, tmm{}, tmm{}", const C, const A, const B, options(nostack, nomem, preserves_flags));
        }
    }

    #[inline]
    unsafe fn add_u8<const C: usize, const A: usize, const B: usize>() {
        // SAFETY: the tiles are configured, with shapes that fit together.
        unsafe {
            asm!("tdpbsud tmm{}, tmm{}, tmm{}", const C, const A, const B, options(nostack, nomem, preserves_flags));
        }
    }

    #[inline]
    unsafe fn add_bf16<const C: usize, const A: usize, const B: usize>() {
        // SAFETY: the tiles are configured, with shapes that fit together.
        unsafe {
            asm!("tdpbf16ps tmm{}, tmm{}, tmm{}", const C, const A, const B, options(nostack, nomem, preserves_flags));
        }
    }
}

/// Whether the processor has tiles with products of i8 and of bf16.
pub(super) fn is_there() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    const ALL: u32 = BF16 | TILE | INT8;
    std::arch::x86_64::__cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & ALL == ALL
}

/// Asks the system for room for tiles, which a process has to do once; whether it has it then.
#[cfg(target_os = "linux")]
pub(super) fn is_allowed() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call changes nothing but what signal frames of this process have room for.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_allowed() -> bool {
    false
}
