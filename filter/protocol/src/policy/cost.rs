//! How many units a request takes.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Most fields of one [`Usage`].
pub const MAX_USAGE_FIELDS: usize = 4;

/// Most segments of a field's path.
pub const MAX_USAGE_SEGMENTS: usize = 8;

/// A number, or where to find it. Whatever is found is at least 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Always the same. In the document just the number.
    Constant(u64),
    /// By the size of the request's body.
    ContentLength(ContentLengthCost),
    /// As a header says.
    Header(HeaderCost),
    /// By method and path.
    Table(Table),
    /// Estimated now, settled when the true cost is known.
    Settled(Box<Settled>),
}

impl Cost {
    /// One unit.
    pub const ONE: Self = Self::Constant(1);
}

impl Default for Cost {
    fn default() -> Self {
        Self::ONE
    }
}

/// The body's size by `content-length`, in units of `unit_bytes`, rounded up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ContentLengthCost {
    /// Bytes of one unit.
    pub unit_bytes: u64,
    /// Units of a request that does not say its length.
    pub default: u64,
    /// Upper cut, in units.
    pub max: u64,
}

impl Default for ContentLengthCost {
    fn default() -> Self {
        Self { unit_bytes: 1, default: 1, max: 1 << 30 }
    }
}

/// A decimal number in a request header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HeaderCost {
    /// The header.
    pub name: String,
    /// Units when it is absent or not a number.
    #[serde(default = "one")]
    pub default: u64,
    /// Upper cut, in units.
    pub max: u64,
}

fn one() -> u64 {
    1
}

/// Units by method and path; the most specific row counts, as among rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The rows; at most 256.
    pub rows: Vec<TableRow>,
    /// Units where no row fits.
    #[serde(default = "one")]
    pub default: u64,
}

/// A row of a [`Table`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TableRow {
    /// A path template; every path when left out.
    pub path: Option<String>,
    /// Any of these methods; every one when left out.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Units.
    pub cost: u64,
}

/// A cost that is known only afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// What is taken when the request comes.
    #[serde(default)]
    pub estimate: Cost,
    /// Where the true cost is found; the difference is given back, or becomes a debt.
    pub by: TrueCost,
    /// Seconds between two settlements of a stream that goes on.
    #[serde(default = "ten")]
    pub settle_every_s: u32,
}

fn ten() -> u32 {
    10
}

/// Where a true cost is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TrueCost {
    /// A decimal number in this response header.
    ResponseHeader(String),
    /// Bytes of the response's body, in units of so many bytes.
    ResponseBytes {
        /// Bytes of one unit.
        unit_bytes: u64,
    },
    /// From request to end of response, in units of so many milliseconds.
    Duration {
        /// Milliseconds of one unit.
        unit_ms: u64,
    },
    /// Numbers in the response's body.
    Usage(Usage),
}

/// Numbers in a JSON body or in the last event of a stream that has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Field paths such as `usage.total_tokens`; the sum counts. At most 4 of at most 8 segments and 256 bytes each.
    pub fields: Vec<String>,
    /// What the body is. Default: as `content-type` says.
    #[serde(default)]
    pub format: UsageFormat,
}

/// What a body with usage numbers is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum UsageFormat {
    /// As `content-type` says.
    #[default]
    Auto,
    /// One JSON document.
    Json,
    /// Server-sent events with JSON data.
    Sse,
}

/// The forms of a cost that are not a plain number.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum Measured {
    ContentLength(ContentLengthCost),
    Header(HeaderCost),
    Table(Table),
    Settled(Box<Settled>),
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CostVisitor)
    }
}

struct CostVisitor;

impl<'de> Visitor<'de> for CostVisitor {
    type Value = Cost;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number of units, or one of content_length, header, table, settled")
    }

    fn visit_u64<E>(self, units: u64) -> Result<Cost, E> {
        Ok(Cost::Constant(units))
    }

    fn visit_i64<E: serde::de::Error>(self, units: i64) -> Result<Cost, E> {
        u64::try_from(units).map(Cost::Constant).map_err(|_| E::custom("a cost is not negative"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cost, A::Error> {
        Ok(match Measured::deserialize(MapAccessDeserializer::new(map))? {
            Measured::ContentLength(cost) => Cost::ContentLength(cost),
            Measured::Header(cost) => Cost::Header(cost),
            Measured::Table(cost) => Cost::Table(cost),
            Measured::Settled(cost) => Cost::Settled(cost),
        })
    }
}

impl Serialize for Cost {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.clone() {
            Self::Constant(units) => return serializer.serialize_u64(units),
            Self::ContentLength(cost) => Measured::ContentLength(cost),
            Self::Header(cost) => Measured::Header(cost),
            Self::Table(cost) => Measured::Table(cost),
            Self::Settled(cost) => Measured::Settled(cost),
        }
        .serialize(serializer)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Cost {
    fn schema_name() -> alloc::borrow::Cow<'static, str> {
        "Cost".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let units = schemars::json_schema!({ "type": "integer", "minimum": 1 });
        schemars::json_schema!({
            "description": "Units: a number, or where to find it.",
            "anyOf": [units, generator.subschema_for::<Measured>()],
        })
    }
}
