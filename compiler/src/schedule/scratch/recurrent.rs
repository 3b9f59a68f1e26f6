//! Scratch of recurrent layers.

use graver_runtime::abi::DeltaRun;

use super::area::{Area, Layout};
use crate::graph::ShortConv;
use crate::schedule::work::channels;

/// Of a short convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvScratch {
    /// The taps of a run of channels side by side, `[taps, channels]`.
    pub taps: Area,
}

impl ConvScratch {
    /// The layout of convolution `c`.
    pub(crate) fn of(c: &ShortConv) -> Self {
        Self::take(&mut Layout::new(), c)
    }

    pub(super) fn take(layout: &mut Layout, c: &ShortConv) -> Self {
        ConvScratch {
            taps: layout.take(c.taps * channels(c) * 4),
        }
    }
}

/// Of the gated delta rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeltaScratch {
    /// What the micro-kernel is told.
    pub run: Area,
}

impl DeltaScratch {
    /// The layout.
    pub(crate) fn of() -> Self {
        Self::take(&mut Layout::new())
    }

    pub(super) fn take(layout: &mut Layout) -> Self {
        DeltaScratch {
            run: layout.take(size_of::<DeltaRun>()),
        }
    }
}

/// Of the decays of recurrent state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecayScratch {
    /// The rate of each head.
    pub rates: Area,
}

impl DecayScratch {
    /// The layout for so many heads.
    pub(crate) fn of(heads: usize) -> Self {
        Self::take(&mut Layout::new(), heads)
    }

    pub(super) fn take(layout: &mut Layout, heads: usize) -> Self {
        DecayScratch {
            rates: layout.take(heads * 4),
        }
    }
}
