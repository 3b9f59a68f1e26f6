//! Looks for weights that are not finite, where rounding would hide them or somebody asks what is wrong.

use rayon::prelude::*;

use super::blobs::Weights;
use super::error::WeightsError;
use super::view::View;

impl Weights {
    /// Checks that what `views` read is finite, with what lies between their rows. Panels are finite as they are made, and
    /// so is what has yet to be drawn.
    ///
    /// # Errors
    /// The first value of the first view that is not.
    pub(super) fn check_finite_in(&self, views: &[View]) -> Result<(), WeightsError> {
        let misfit = views.par_iter().find_map_first(|view| {
            let held = !self.blobs[view.blob].as_bytes().is_empty();
            let dtype = view.encoding.float().filter(|_| held)?;
            let values = self.bytes(view).chunks_exact(dtype.size());
            let mut values = values.map(|value| dtype.read(value));
            let at = values.position(|value| !value.is_finite())? * dtype.size();
            let found = dtype.read(&self.bytes(view)[at..]);
            let at = view.offset_bytes + at;
            let place = self.place(view.tensor, view.row_stride_bytes, dtype, at);
            Some(WeightsError::NotFinite { place, found })
        });
        misfit.map_or(Ok(()), Err)
    }

    /// Checks that all weights are finite.
    ///
    /// # Errors
    /// The first that is not, by tensor, row and column.
    pub fn check_finite(&self) -> Result<(), WeightsError> {
        let views: Vec<View> = self.views().cloned().collect();
        self.check_finite_in(&views)
    }
}
