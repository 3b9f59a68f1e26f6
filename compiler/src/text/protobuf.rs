//! Reads the fields of protobuf messages: bytes in; numbers and values out, in order. Nothing is copied.

/// A value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Whole(u64),
    Single(f32),
    Bytes(&'a [u8]),
    /// Eight bytes, which nothing here has a use for.
    Eight,
}

/// The fields of a message: `None` in the place of one that is not as the format says, and the last then.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    fn whole(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 127) << shift;
            if byte & 128 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(usize::try_from(count).ok()?)?;
        self.rest = rest;
        Some(bytes)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.whole()?;
        let value = match key & 7 {
            0 => Value::Whole(self.whole()?),
            1 => self.take(8).map(|_| Value::Eight)?,
            2 => {
                let length = self.whole()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Single(f32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order_and_damage_is_the_last() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, b'a', b'b', 0x1D, 0, 0, 128, 63];
        let all: Vec<_> = Fields::of(&message).collect();
        let expected = [
            Some((1, Value::Whole(150))),
            Some((2, Value::Bytes(b"ab"))),
            Some((3, Value::Single(1.0))),
        ];
        assert_eq!(all, expected);
        for end in [1, 2, 4, 5, 6, 8, 11] {
            assert_eq!(Fields::of(&message[..end]).last(), Some(None), "{end}");
        }
        // A number that never ends, and one of the kinds that are used no more.
        for damaged in [&[0xFF; 11][..], &[0x0B]] {
            assert_eq!(Fields::of(damaged).collect::<Vec<_>>(), [None]);
        }
    }
}
