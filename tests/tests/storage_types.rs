//! Storage types against the values that the formats' own reader gives (`tests/golden/make_blocks.py`).

use graver::weights::{SafetensorsFile, StorageType};
use graver_tests::fixtures;

struct Golden(SafetensorsFile);

impl Golden {
    fn open() -> Golden {
        let path = fixtures().join("blocks.safetensors");
        Golden(SafetensorsFile::open(&path).unwrap())
    }

    /// The blocks of a type, and the values that they have.
    fn of(&self, storage: &StorageType) -> Option<Vec<(&[u8], Vec<u32>)>> {
        let bytes = |what| {
            let header = self.0.tensors.get(&format!("{}.{what}", storage.name))?;
            Some(self.0.bytes(header))
        };
        let bits = |bytes: &[u8]| {
            let values = bytes.chunks_exact(4);
            values
                .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        };
        let values = bytes("values")?.chunks_exact(4 * storage.block).map(bits);
        let blocks = bytes("blocks")?.chunks_exact(storage.bytes);
        assert_eq!(blocks.len(), values.len(), "{}", storage.name);
        Some(blocks.zip(values).collect())
    }
}

fn read(storage: &StorageType, block: &[u8]) -> (bool, Vec<u32>) {
    let mut out = vec![0.0; storage.block];
    let is_finite = storage.read(block, &mut out);
    (is_finite, out.iter().map(|x| x.to_bits()).collect())
}

#[test]
fn values_have_the_bits_of_the_reference() {
    let golden = Golden::open();
    let mut read_types = 0;
    for storage in StorageType::ALL {
        let Some(blocks) = golden.of(storage) else {
            assert!(
                !storage.is_read(),
                "{} is read without a golden",
                storage.name
            );
            continue;
        };
        assert!(blocks.len() >= 12, "{}", storage.name);
        for (i, (block, expected)) in blocks.iter().enumerate() {
            let (is_finite, found) = read(storage, block);
            assert!(is_finite, "{} block {i}", storage.name);
            assert_eq!(&found, expected, "{} block {i}", storage.name);
        }
        read_types += 1;
    }
    assert_eq!(read_types, 17);
}

#[test]
fn a_scale_that_is_no_number_is_noticed() {
    for (name, at) in [("Q4_0", 0), ("Q4_1", 2), ("Q3_K", 108), ("Q4_K", 2)] {
        let storage = StorageType::named(name).unwrap();
        for bad in [0x7c00u16, 0xfc00, 0x7e00] {
            let mut block = vec![0x11; storage.bytes];
            block[at..at + 2].copy_from_slice(&bad.to_le_bytes());
            assert!(!read(storage, &block).0, "{name} {bad:x}");
        }
    }
    // 12 times 2^127 is above what f32 holds.
    let mxfp4 = StorageType::named("MXFP4").unwrap();
    let mut block = vec![0x77; mxfp4.bytes];
    block[0] = 255;
    assert!(!read(mxfp4, &block).0);
}

/// Which layout holds the same values; that it does is tested where panels are made.
#[test]
fn nearly_all_types_have_a_packed_layout() {
    let found: Vec<_> = StorageType::ALL
        .iter()
        .filter_map(|t| Some((t.name, t.packed()?.to_string())))
        .collect();
    let found: Vec<(&str, &str)> = found.iter().map(|(name, q)| (*name, &**q)).collect();
    assert_eq!(
        found,
        [
            ("Q4_0", "q4"),
            ("Q4_1", "q4n"),
            ("Q5_0", "q8"),
            ("Q5_1", "q8m"),
            ("Q8_0", "q8"),
            ("IQ4_NL", "q8"),
            ("MXFP4", "q8h"),
            ("Q3_K", "q8h"),
            ("Q4_K", "q4s"),
            ("Q5_K", "q8m"),
            ("Q6_K", "q8h"),
            ("IQ4_XS", "q8h"),
            ("TQ2_0", "q4"),
        ]
    );
}
