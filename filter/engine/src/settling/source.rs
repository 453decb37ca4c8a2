//! Where a charge's true cost is found, compiled once.

use alloc::string::String;
use alloc::vec::Vec;

use forebay_admission::Nanos;
use forebay_protocol::policy::{self as document, UsageFormat};

use crate::usage::{BodySource, Combine, Field, Format, Path, Scale, TrueCost};

/// The source of one charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where the cost is.
    pub by: TrueCost,
    /// What the body is; `None`: as `content-type` says.
    pub format: Option<Format>,
    /// Nanoseconds between two settlements of a stream that goes on.
    pub every: u64,
}

impl Source {
    /// Compiles a checked document.
    ///
    /// # Errors
    /// What the check should have found.
    pub fn compile(settled: &document::Settled) -> Result<Self, &'static str> {
        let mut format = None;
        let by = match &settled.by {
            document::TrueCost::ResponseHeader(name) => TrueCost::Header(name.to_ascii_lowercase(), Scale::ONE),
            document::TrueCost::ResponseBytes { unit_bytes } => TrueCost::Bytes(*unit_bytes),
            document::TrueCost::Duration { unit_ms } => TrueCost::Duration(*unit_ms),
            document::TrueCost::Usage(usage) => {
                format = match usage.format {
                    UsageFormat::Auto => None,
                    UsageFormat::Json => Some(Format::Json),
                    UsageFormat::Sse => Some(Format::Sse),
                };
                let field = |text: &String| {
                    let path = Path::parse(text).map_err(|_| "a usage field is no path")?;
                    Ok(Field { path, scale: Scale::ONE })
                };
                let fields = usage.fields.iter().map(field).collect::<Result<Vec<_>, &'static str>>()?;
                TrueCost::Body(BodySource { fields, combine: Combine::Last })
            }
        };
        Ok(Self { by, format, every: u64::from(settled.settle_every_s.max(1)) * Nanos::SECOND })
    }

    /// The body's fields, where the cost is there.
    pub(super) fn body(&self) -> Option<&BodySource> {
        match &self.by {
            TrueCost::Body(body) => Some(body),
            TrueCost::Header(..) | TrueCost::Bytes(_) | TrueCost::Duration(_) => None,
        }
    }
}
