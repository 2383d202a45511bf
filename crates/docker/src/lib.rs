//! The Docker engine: where it is, what it says, and which containers are meant; the only user of
//! bollard.
//!
//! Five things live here, in the order in which a session needs them:
//!
//! - [`Endpoint`]: which engine is meant, by docker's own rules;
//! - [`Engine`]: a connection to it, every request with a deadline;
//! - [`watch()`]: what becomes of its containers, as long as somebody listens;
//! - [`resolve`]: selectors to containers, and [`address_names`]: addresses to names. Both are
//!   functions of a list of containers and need no engine;
//! - [`HelperSpec`]: a container of our own, which does what takes rights for somebody who has only
//!   the engine's socket.
//!
//! Nothing here enters a namespace, and nothing here trusts what an engine says about this
//! machine: a pid is a number in the engine's world until somebody proves more.
//!
//! Bollard's types stay inside: callers see `model`'s words. The rejected alternative was bollard's
//! own connection functions: they open the socket by path, and the process that talks to the engine
//! may have given up the right to do so. So connections are made by a [`Dial`], which also stands for
//! ssh: a program is run whose two streams are the connection. TLS is spoken here (rustls); what
//! rustls does not take is left to docker's own `docker system dial-stdio`.

mod api;
mod bounded;
mod complaints;
mod context;
mod dial;
mod endpoint;
mod engine;
mod error;
mod filter;
mod glob;
mod happening;
mod happenings;
mod helper;
mod host;
mod image_reference;
mod line;
mod lines;
mod names;
mod nearest;
mod node;
mod resolution;
mod selection;
mod stamp;
mod tls;
mod transport;
mod version;
mod watch;

pub use dial::{Dial, PathDial, ProgramDial};
pub use endpoint::{Endpoint, EndpointOptions, Source};
pub use engine::{DEADLINE, Engine, INSPECT_CONCURRENCY};
pub use error::Error;
pub use filter::Filter;
pub use happening::{Happening, What};
pub use happenings::Happenings;
pub use helper::{
    AttachedInput, AttachedOutput, Calls, EXEC_LABEL, HelperProgram, HelperSpec, LeftContainer,
    Piece, Purpose, Shape,
};
pub use host::Host;
pub use line::Line;
pub use names::address_names;
pub use node::Node;
pub use resolution::{Ambiguous, NotRunning, Resolution, Unmatched, resolve};
pub use selection::{takes, takes_any};
pub use tls::Tls;
pub use version::Version;
pub use watch::{News, RECONCILE, watch};
