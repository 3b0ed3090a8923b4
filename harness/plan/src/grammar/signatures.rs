//! Whose signatures a policy needs.

use super::*;

pub(crate) static SIGNATURES: Table = table(
    "signatures",
    &[
        opt(
            "need",
            COUNT,
            "How many of the roles must have signed, each another person with another key; all by default.",
        ),
        req(
            "of",
            Ty::Some(&Ty::Text),
            "Roles that sign: `sign --role ROLE` over every run, `gate --attestation FILE --key ROLE=PUB`.",
        ),
    ],
);
