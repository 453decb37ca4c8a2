//! What is wrong with a document.

use alloc::string::String;
use core::fmt;

/// Most findings about one document; more say nothing new.
pub const MAX_FINDINGS: usize = 100;

/// A finding's number, printed as `FB` and four digits. The first two say where to look, and a number keeps its meaning.
///
/// | codes | about |
/// |---|---|
/// | `FB00..` | the document as a whole |
/// | `FB01..` | resources and limits |
/// | `FB02..` | matching |
/// | `FB03..` | identity |
/// | `FB04..` | charges and costs |
/// | `FB05..` | contracts |
/// | `FB06..` | other settings |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl Code {
    /// Not the expected YAML or JSON: an unknown field, a missing one, or another type.
    pub const SHAPE: Self = Self(1);
    /// A version that this build does not read.
    pub const VERSION: Self = Self(2);
    /// More of something than is allowed, or less.
    pub const COUNT: Self = Self(3);
    /// Not a name.
    pub const NAME: Self = Self(4);
    /// A setting of the bootstrap is out of range.
    pub const BOOTSTRAP: Self = Self(5);
    /// Two resources of one name.
    pub const RESOURCE_TWICE: Self = Self(101);
    /// A rate out of range.
    pub const RATE: Self = Self(102);
    /// A burst out of range.
    pub const BURST: Self = Self(103);
    /// Not a host.
    pub const HOST: Self = Self(201);
    /// Not a path template.
    pub const PATH: Self = Self(202);
    /// Not a method.
    pub const METHOD: Self = Self(203);
    /// Not a header name, or contradicting conditions on one.
    pub const HEADER: Self = Self(204);
    /// Not a gRPC service, or beside a path.
    pub const GRPC: Self = Self(205);
    /// Not a network.
    pub const NETWORK: Self = Self(206);
    /// A rule that an earlier one of the same conditions hides.
    pub const HIDDEN: Self = Self(207);
    /// A source of identity that cannot work.
    pub const SOURCE: Self = Self(301);
    /// A path parameter that the rule's path does not have.
    pub const PATH_PARAMETER: Self = Self(302);
    /// A resource that the document does not have.
    pub const NO_RESOURCE: Self = Self(401);
    /// A resource that is charged twice by one rule.
    pub const CHARGED_TWICE: Self = Self(402);
    /// A rule that does not say what it charges.
    pub const NO_CHARGES: Self = Self(403);
    /// A cost out of range.
    pub const COST: Self = Self(404);
    /// A settlement that cannot work.
    pub const SETTLEMENT: Self = Self(405);
    /// Not a tenant.
    pub const TENANT: Self = Self(501);
    /// A second contract of a tenant for a resource.
    pub const CONTRACT_TWICE: Self = Self(502);
    /// A contract without rate.
    pub const NO_RATE: Self = Self(503);
    /// A priority class out of range.
    pub const PRIORITY_CLASS: Self = Self(601);
    /// A queue's bounds contradict each other.
    pub const QUEUE: Self = Self(602);
    /// An answer that makes no sense.
    pub const ANSWER: Self = Self(603);
    /// An attribute that cannot be counted.
    pub const ATTRIBUTE: Self = Self(604);
    /// A secret of debug or provenance that can be guessed.
    pub const DEBUG: Self = Self(605);
    /// A guard out of range.
    pub const GUARD: Self = Self(606);
    /// A shadow setting out of range.
    pub const SHADOW: Self = Self(607);
    /// A weight out of range.
    pub const WEIGHT: Self = Self(608);
    /// A pool whose terms contradict each other.
    pub const POOL: Self = Self(609);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FB{:04}", self.0)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its number.
    pub code: Code,
    /// Where: a path such as `rules[3].match.path`, or line and column of a text that is not the expected one.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {} ({})", self.path, self.reason, self.remedy, self.code)
    }
}
