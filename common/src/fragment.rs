//! Fragments: the first one bears the ports and is picked for like any packet, the later ones follow it.

/// What the fragments of one packet share (RFC 791, section 3.2; RFC 8200, section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Source address in two words, as loaded; of IPv4 in the second.
    pub source: [u64; 2],
    /// Destination address, likewise.
    pub destination: [u64; 2],
    /// Identification, as loaded.
    pub id: u32,
    /// Protocol, with the family as in [`Key::tag`](crate::service::Key::tag): IPv6 puts no protocol into it, for only
    /// the first fragment tells.
    pub tag: u32,
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

/// Where the first fragment went.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The backend's number.
    pub backend: u16,
    /// Its [`Life`](crate::backend::Life) then.
    pub life: u16,
    /// What varies the outer header, so that all pieces take one way.
    pub entropy: u32,
}

const _: () = assert!(size_of::<Fragment>() == 8);
