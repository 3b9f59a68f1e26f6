//! Sums that begin while what is summed is still computed: its columns are handed over in bands, each as soon as it is there.
//!
//! Only thread 0 of a rank hands over; the others go on with chunks that it would have computed. All ranks hand over the same bands in
//! the same order, whether early or when everything is there: bits and bytes are those of one sum of all columns.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bands of a sum: what is left to hand over when the last column is there is one of them.
pub(super) const BANDS: usize = 4;

/// Columns of band `i`.
pub(super) fn band(width: usize, i: usize) -> Range<usize> {
    width * i / BANDS..width * (i + 1) / BANDS
}

/// Which columns are there of each sum of a program: all threads write here while thread 0 has the link.
pub(super) struct Columns(Box<[Finished]>);

/// Finished columns of each band of a sum.
struct Finished {
    width: usize,
    bands: [AtomicUsize; BANDS],
}

impl Columns {
    /// For sums of so many columns.
    pub(super) fn new(widths: impl Iterator<Item = usize>) -> Columns {
        let finished = |width| Finished {
            width,
            bands: Default::default(),
        };
        Columns(widths.map(finished).collect())
    }

    /// Columns `first..first + n` of sum `index` are there.
    pub(super) fn finish(&self, index: usize, first: usize, n: usize) {
        let of = &self.0[index];
        for (i, finished) in of.bands.iter().enumerate() {
            let band = band(of.width, i);
            let n = band
                .end
                .min(first + n)
                .saturating_sub(band.start.max(first));
            if n > 0 {
                // Release: who sees the band complete sees the columns.
                finished.fetch_add(n, Ordering::Release);
            }
        }
    }

    /// Whether all columns of a band are there.
    pub(super) fn has(&self, index: usize, i: usize) -> bool {
        let of = &self.0[index];
        of.bands[i].load(Ordering::Acquire) == band(of.width, i).len()
    }

    /// Begins again, when no thread computes columns of sum `index`.
    pub(super) fn clear(&self, index: usize) {
        let bands = self.0[index].bands.iter();
        bands.for_each(|finished| finished.store(0, Ordering::Relaxed));
    }
}

/// Rows of this rank, and where those of the sum go.
#[derive(Clone, Copy)]
pub(super) struct SumRows {
    pub(super) from: *const f32,
    /// Floats from one row of `from` to the next.
    pub(super) stride: usize,
    pub(super) to: *mut f32,
    pub(super) rows: usize,
    /// Columns of the sum, and floats from one row of `to` to the next.
    pub(super) width: usize,
}

impl SumRows {
    /// Some columns of all rows, one row after the other.
    ///
    /// # Safety
    /// `from` has so many rows and columns, and nobody writes to these columns meanwhile.
    pub(super) unsafe fn pack(self, columns: &Range<usize>, packed: &mut Vec<f32>) {
        packed.clear();
        for row in 0..self.rows {
            // SAFETY: the columns are inside the row, and nobody writes to them, as the caller promises.
            let run = unsafe {
                let at = self.from.add(row * self.stride + columns.start);
                std::slice::from_raw_parts(at, columns.len())
            };
            packed.extend_from_slice(run);
        }
    }

    /// Puts packed columns where those of the sum go.
    ///
    /// # Safety
    /// `to` has so many rows and columns, and nobody else uses these columns meanwhile.
    pub(super) unsafe fn unpack(self, columns: &Range<usize>, packed: &[f32]) {
        for (row, run) in packed.chunks_exact(columns.len().max(1)).enumerate() {
            // SAFETY: the columns are inside the row, and nobody uses them, as the caller promises.
            let to = unsafe {
                let at = self.to.add(row * self.width + columns.start);
                std::slice::from_raw_parts_mut(at, columns.len())
            };
            to.copy_from_slice(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_is_there_when_all_its_columns_are_in_whatever_order() {
        let columns = Columns::new([64, 50].into_iter());
        let has = |index| {
            (0..BANDS)
                .map(|i| columns.has(index, i))
                .collect::<Vec<_>>()
        };
        columns.finish(1, 40, 10);
        columns.finish(1, 0, 10);
        assert_eq!(has(1), [false; BANDS]);
        columns.finish(1, 10, 20);
        assert_eq!(has(1), [true, true, false, false]);
        columns.finish(1, 30, 10);
        assert_eq!(has(1), [true; BANDS]);
        assert_eq!(has(0), [false; BANDS]);
        columns.clear(1);
        assert_eq!(has(1), [false; BANDS]);
    }

    #[test]
    fn bands_of_few_columns_may_be_empty_and_are_there_at_once() {
        let columns = Columns::new([2].into_iter());
        let has = |i| columns.has(0, i);
        assert_eq!([0, 1, 2, 3].map(has), [true, false, true, false]);
        columns.finish(0, 0, 2);
        assert!((0..BANDS).all(has));
    }

    #[test]
    fn columns_are_packed_and_unpacked() {
        let from: Vec<f32> = (0..15).map(|v| v as f32).collect();
        let mut to = [0.0; 9];
        let rows = SumRows {
            from: from.as_ptr(),
            stride: 5,
            to: to.as_mut_ptr(),
            rows: 3,
            width: 3,
        };
        let mut packed = vec![];
        // SAFETY: three rows of five and of three floats, which nobody else uses.
        unsafe {
            rows.pack(&(1..3), &mut packed);
            assert_eq!(packed, [1.0, 2.0, 6.0, 7.0, 11.0, 12.0]);
            rows.unpack(&(1..3), &packed);
        }
        assert_eq!(to, [0.0, 1.0, 2.0, 0.0, 6.0, 7.0, 0.0, 11.0, 12.0]);
    }
}
