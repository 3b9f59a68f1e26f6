//! Writes GGUF files, well-formed or not: what tests read.

use graver::weights::StorageType;

/// Numbers of types of metadata.
pub mod kind {
    /// A byte.
    pub const U8: u32 = 0;
    /// A 32-bit number without sign.
    pub const U32: u32 = 4;
    /// A 32-bit number with one.
    pub const I32: u32 = 5;
    /// A float32.
    pub const F32: u32 = 6;
    /// A flag.
    pub const FLAG: u32 = 7;
    /// A text.
    pub const TEXT: u32 = 8;
    /// A list.
    pub const LIST: u32 = 9;
    /// A 64-bit number without sign.
    pub const U64: u32 = 10;
}

/// A file in the making. Whatever is public can be set to what no file should have.
#[derive(Clone, Debug)]
pub struct Writer {
    /// 3.
    pub version: u32,
    /// The key, and its type and value as bytes.
    pub keys: Vec<(String, Vec<u8>)>,
    /// In the order of their bytes.
    pub tensors: Vec<Tensor>,
    /// Written into the file, where it is not the default.
    pub alignment: u32,
    /// Written in place of the number of tensors.
    pub tensor_count: Option<u64>,
    /// Written in place of the number of keys.
    pub key_count: Option<u64>,
}

/// A tensor of such a file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Innermost first, as the file has them.
    pub dimensions: Vec<u64>,
    /// The number of its type.
    pub dtype: u32,
    /// Where the file says that it lies; behind the one before where it is none.
    pub offset: Option<u64>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer {
            version: 3,
            keys: vec![],
            tensors: vec![],
            alignment: 32,
            tensor_count: None,
            key_count: None,
        }
    }
}

/// A text as the format has it.
pub fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

impl Writer {
    /// A key with a value of any type.
    #[must_use]
    pub fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Writer {
        let value = [&kind.to_le_bytes(), value].concat();
        self.keys.push((key.into(), value));
        self
    }

    /// A key with a whole number.
    #[must_use]
    pub fn whole(self, key: &str, value: u32) -> Writer {
        self.raw(key, kind::U32, &value.to_le_bytes())
    }

    /// A key with a float.
    #[must_use]
    pub fn single(self, key: &str, value: f32) -> Writer {
        self.raw(key, kind::F32, &value.to_le_bytes())
    }

    /// A key with a flag.
    #[must_use]
    pub fn flag(self, key: &str, value: bool) -> Writer {
        self.raw(key, kind::FLAG, &[u8::from(value)])
    }

    /// A key with a text.
    #[must_use]
    pub fn text(self, key: &str, value: &str) -> Writer {
        self.raw(key, kind::TEXT, &text(value.as_bytes()))
    }

    /// A key with a list of elements of one type, each given as its bytes.
    #[must_use]
    pub fn list(self, key: &str, element: u32, elements: &[Vec<u8>]) -> Writer {
        let count = (elements.len() as u64).to_le_bytes();
        let value = [&element.to_le_bytes()[..], &count, &elements.concat()].concat();
        self.raw(key, kind::LIST, &value)
    }

    /// A tensor; `shape` is outermost first.
    ///
    /// # Panics
    /// For a name of a type that is none.
    #[must_use]
    pub fn tensor(mut self, name: &str, dtype: &str, shape: &[usize], bytes: Vec<u8>) -> Writer {
        let numbers = 0..64;
        let of = |n: &u32| StorageType::of_gguf(*n).is_some_and(|t| t.name == dtype);
        self.tensors.push(Tensor {
            name: name.into(),
            dimensions: shape.iter().rev().map(|n| *n as u64).collect(),
            dtype: numbers.clone().find(of).expect("a type"),
            offset: None,
            bytes,
        });
        self
    }

    /// A tensor of zeros.
    ///
    /// # Panics
    /// As [`Writer::tensor`].
    #[must_use]
    pub fn zeros(self, name: &str, dtype: &str, shape: &[usize]) -> Writer {
        let storage = StorageType::named(dtype).expect("a type");
        let bytes = shape.iter().product::<usize>() / storage.block * storage.bytes;
        self.tensor(name, dtype, shape, vec![0; bytes])
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut keys = self.keys.clone();
        if self.alignment != 32 {
            let value = [
                kind::U32.to_le_bytes().to_vec(),
                self.alignment.to_le_bytes().to_vec(),
            ];
            keys.push(("general.alignment".into(), value.concat()));
        }
        let counts = [
            self.tensor_count.unwrap_or(self.tensors.len() as u64),
            self.key_count.unwrap_or(keys.len() as u64),
        ];
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        counts.iter().for_each(|n| out.extend(n.to_le_bytes()));
        for (key, value) in &keys {
            out.extend(text(key.as_bytes()));
            out.extend(value);
        }
        let mut data: Vec<u8> = vec![];
        for t in &self.tensors {
            self.pad(&mut data);
            out.extend(text(t.name.as_bytes()));
            out.extend((t.dimensions.len() as u32).to_le_bytes());
            t.dimensions
                .iter()
                .for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(t.dtype.to_le_bytes());
            out.extend(t.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&t.bytes);
        }
        self.pad(&mut out);
        out.extend(data);
        out
    }

    fn pad(&self, bytes: &mut Vec<u8>) {
        let aligned = bytes.len().next_multiple_of(self.alignment.max(1) as usize);
        bytes.resize(aligned, 0);
    }
}
