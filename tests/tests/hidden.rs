//! Sessions that give hidden states: times the head's matrix they are the logits of the session they came with.

use graver::driver::{self, Loaded};
use graver::passes::PassOptions;
use graver::spec::model::StepOp;
use graver::weights::View;
use graver_runtime::abi::{CacheType, Dtype};
use graver_runtime::session::{SessionOptions, Wanted};
use graver_tests::{compile_options, fixture_folders, load_checkpoint, share};

/// The head's last matrix as rows of f32, if that is what the head ends with, stored row by row.
fn last_matrix(loaded: &Loaded) -> Option<Vec<Vec<f32>>> {
    let StepOp::Linear(linear) = &loaded.model.head.last()?.op else {
        return None;
    };
    let view: &View = loaded.weights.views().last()?;
    if linear.bias.is_some() || view.transposed {
        return None;
    }
    let dtype: Dtype = view.encoding.float()?;
    let [rows, columns] = linear.weight.shape[..] else {
        return None;
    };
    let bytes = loaded.weights.bytes(view);
    let row = |r: usize| {
        let row = &bytes[r * view.row_stride_bytes..][..columns * dtype.size()];
        row.chunks_exact(dtype.size())
            .map(|b| dtype.read(b))
            .collect()
    };
    Some((0..rows).map(row).collect())
}

#[test]
fn hidden_states_times_the_heads_matrix_are_logits() {
    let (mut fit, mut checked) = (0, 0);
    for dir in fixture_folders() {
        let loaded = load_checkpoint(&dir).unwrap();
        let Some(matrix) = last_matrix(&loaded) else {
            continue;
        };
        fit += 1;
        if !share::has(&dir.file_name().unwrap_or_default().to_string_lossy()) {
            continue;
        }
        let options = compile_options(PassOptions::default(), CacheType::F32);
        let session = SessionOptions {
            threads: Some(2),
            ..SessionOptions::default()
        };
        let opened = driver::open_with_hidden(loaded, &options, session.clone()).unwrap();
        let (mut session, mut hidden) = (opened.0, opened.1.unwrap().start(session).unwrap());
        // Twelve in the prefill program, then one by one in that of decoding.
        let tokens: Vec<u32> = (3..16).collect();
        for piece in [&tokens[..12], &tokens[12..]] {
            let logits = session.feed(0, piece, Wanted::All).unwrap();
            let states = hidden.feed(0, piece, Wanted::All).unwrap();
            assert_eq!(states.n_rows(), piece.len(), "{}", dir.display());
            for row in 0..piece.len() {
                for (weights, expected) in matrix.iter().zip(logits.row(row)) {
                    let products = weights.iter().zip(states.row(row));
                    let sum: f64 = products.map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                    let error = (sum - f64::from(*expected)).abs();
                    assert!(error < 1e-3, "{}: {sum} {expected}", dir.display());
                }
            }
        }
        checked += 1;
    }
    assert!(fit >= 60, "only {fit} fixtures");
    assert!(checked > 0, "none of {fit} fixtures");
}
