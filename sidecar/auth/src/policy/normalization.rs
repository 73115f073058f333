//! What a route makes of paths that some servers read in two ways, and that cannot be decided on without it.

/// Each route has its own; the one that a request takes decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Normalization {
    /// What becomes of `%2F` and `%5C`.
    pub encoded_slash: EncodedSlash,
    /// A run of `/` is made one: the merged form is what is matched, and what is forwarded. Else `//` is matched and
    /// forwarded literally.
    pub merge_slashes: bool,
}

/// What becomes of `%2F` and `%5C` in a path: separators for some servers and letters for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlash {
    /// The request is refused.
    #[default]
    Refuse,
    /// They are bytes of their segment: matched literally, and forwarded as they are.
    Keep,
}
