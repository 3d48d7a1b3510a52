//! Reads small numbers off the input. Past its end everything is zero, so every input is a valid one.
//!
//! Used by the recipes and by targets that need choices besides their bytes.

/// What is left of an input.
pub struct Bites<'a> {
    rest: &'a [u8],
}

impl<'a> Bites<'a> {
    /// The whole of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let count = self.rest.len().min(N);
        taken[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        taken
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// The next two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Up to `count` bytes; fewer at the end.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}
