//! Vectors by others: those of the RFCs, and the corpora of Wycheproof and of the JOSE cookbook.
//!
//! Their payloads are prose or no claims for anybody here, and would be refused for that alone. So they
//! are put to the signature layer ([`layer`]): the strict reading of segments and header, the choice of
//! the key, the signature.

mod corpora;
mod layer;
mod rfc;
