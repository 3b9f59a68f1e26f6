//! Scratch of recurrent layers, and of a non-linearity.

use graver_runtime::abi::DeltaRun;

use super::area::{Area, Layout};
use crate::graph::{Scan, ShortConv};
use crate::schedule::work::{SCANNED, channels};

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
            taps: layout.take("taps", c.taps * channels(c) * 4),
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
            run: layout.take("run", size_of::<DeltaRun>()),
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
            rates: layout.take("rates", heads * 4),
        }
    }
}

/// Of a selective scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanScratch {
    /// Rates of a run of channels, `[key_dim, channels]`.
    pub rates: Area,
    /// What is left of each number of their state, the same way.
    pub decays: Area,
    /// What is written of each channel.
    pub written: Area,
}

impl ScanScratch {
    /// The layout of scan `c`.
    pub(crate) fn of(c: &Scan) -> Self {
        Self::take(&mut Layout::new(), c)
    }

    pub(super) fn take(layout: &mut Layout, c: &Scan) -> Self {
        ScanScratch {
            rates: layout.take("rates", c.key_dim * SCANNED * 4),
            decays: layout.take("decays", c.key_dim * SCANNED * 4),
            written: layout.take("written", SCANNED * 4),
        }
    }
}

/// Of a non-linearity with learned curvature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XieluScratch {
    /// Curvature above and below 0.
    pub curves: Area,
}

impl XieluScratch {
    /// The layout.
    pub(crate) fn of() -> Self {
        Self::take(&mut Layout::new())
    }

    pub(super) fn take(layout: &mut Layout) -> Self {
        XieluScratch {
            curves: layout.take("curves", 2 * 4),
        }
    }
}
