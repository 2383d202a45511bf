//! What the opener can be asked for.

use std::time::Duration;

use model::{Instruction, Program};
use sys::ring::Geometry;

use crate::codec::{Decoder, Encoder};

/// The most interface names in one request.
const MAX_INTERFACES: usize = 64;

/// Where a namespace is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A container's, through its first process. The engine's word for that process is not
    /// trusted: the container's id must stand in its cgroup, and where the sandbox file is visible
    /// it must be the same namespace.
    Container {
        /// `State.Pid`.
        pid: u32,
        /// Full id.
        id: String,
        /// `NetworkSettings.SandboxKey`; empty where there is none.
        sandbox_key: String,
    },
    /// A process's.
    Process {
        /// Its pid.
        pid: u32,
    },
    /// A namespace file's.
    Netns {
        /// Its path.
        path: String,
    },
    /// The opener's own.
    Host,
}

/// Which interfaces a capture listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of the namespace, those that come later too, through one socket.
    Namespace,
    /// All that are there now, through a socket each: for kernels on which an unbound socket
    /// slows every packet of the host.
    EachInterface,
    /// Those of these names, through a socket each.
    Named(Vec<String>),
    /// The one of this index.
    Index(u32),
}

/// How sockets are to be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The kernel's program.
    pub program: Program,
    /// A short one, for a kernel that refuses the first for its length.
    pub fallback: Program,
    /// The rings of all sockets together.
    pub geometry: Geometry,
    /// What to listen on.
    pub scope: Scope,
    /// Whether to put the interfaces into promiscuous mode.
    pub promiscuous: bool,
}

/// A request as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// First of all: where the engine's socket is.
    Hello { engine_socket: Option<String> },
    /// Open packet sockets in a namespace.
    Open { place: Place, spec: Spec },
    /// Open a netlink socket in a namespace, and tell its identity.
    Look { place: Place },
    /// Connect to the engine's socket.
    Dial,
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let out = Encoder::default();
        match self {
            Self::Hello { engine_socket } => {
                let out = out.u8(0).bool(engine_socket.is_some());
                out.text(engine_socket.as_deref().unwrap_or_default())
            }
            Self::Open { place, spec } => put_spec(put_place(out.u8(1), place), spec),
            Self::Look { place } => put_place(out.u8(2), place),
            Self::Dial => out.u8(3),
        }
        .finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Decoder::new(bytes);
        let request = match from.u8()? {
            0 => {
                let given = from.bool()?;
                let path = from.text()?;
                Self::Hello { engine_socket: given.then_some(path) }
            }
            1 => Self::Open { place: take_place(&mut from)?, spec: take_spec(&mut from)? },
            2 => Self::Look { place: take_place(&mut from)? },
            3 => Self::Dial,
            _ => return None,
        };
        from.finish(request)
    }
}

fn put_place(out: Encoder, place: &Place) -> Encoder {
    match place {
        Place::Container { pid, id, sandbox_key } => out.u8(0).u32(*pid).text(id).text(sandbox_key),
        Place::Process { pid } => out.u8(1).u32(*pid),
        Place::Netns { path } => out.u8(2).text(path),
        Place::Host => out.u8(3),
    }
}

fn take_place(from: &mut Decoder<'_>) -> Option<Place> {
    Some(match from.u8()? {
        0 => Place::Container { pid: from.u32()?, id: from.text()?, sandbox_key: from.text()? },
        1 => Place::Process { pid: from.u32()? },
        2 => Place::Netns { path: from.text()? },
        3 => Place::Host,
        _ => return None,
    })
}

fn put_program(out: Encoder, program: &Program) -> Encoder {
    out.each(&program.0, |out, i| out.u16(i.code).u8(i.jt).u8(i.jf).u32(i.k))
}

fn take_program(from: &mut Decoder<'_>) -> Option<Program> {
    let instructions = from.each(Program::MAX_INSTRUCTIONS, |from| {
        Some(Instruction { code: from.u16()?, jt: from.u8()?, jf: from.u8()?, k: from.u32()? })
    })?;
    Some(Program(instructions))
}

fn put_spec(out: Encoder, spec: &Spec) -> Encoder {
    let out = put_program(put_program(out, &spec.program), &spec.fallback)
        .u32(spec.geometry.block_bytes())
        .u32(spec.geometry.blocks())
        .u64(u64::try_from(spec.geometry.retire().as_nanos()).unwrap_or(u64::MAX));
    let out = match &spec.scope {
        Scope::Namespace => out.u8(0),
        Scope::EachInterface => out.u8(1),
        Scope::Named(names) => out.u8(2).each(names, |out, name| out.text(name)),
        Scope::Index(index) => out.u8(3).u32(*index),
    };
    out.bool(spec.promiscuous)
}

fn take_spec(from: &mut Decoder<'_>) -> Option<Spec> {
    let program = take_program(from)?;
    let fallback = take_program(from)?;
    let (block_bytes, blocks) = (from.u32()?, from.u32()?);
    let retire = Duration::from_nanos(from.u64()?);
    let scope = match from.u8()? {
        0 => Scope::Namespace,
        1 => Scope::EachInterface,
        2 => Scope::Named(from.each(MAX_INTERFACES, Decoder::text)?),
        3 => Scope::Index(from.u32()?),
        _ => return None,
    };
    let geometry = Geometry::from_parts(block_bytes, blocks, retire)?;
    Some(Spec { program, fallback, geometry, scope, promiscuous: from.bool()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Request> {
        let places = [
            Place::Container { pid: 7, id: "ab".repeat(32), sandbox_key: "/run/x".to_owned() },
            Place::Process { pid: 1 },
            Place::Netns { path: "/run/netns/a b".to_owned() },
            Place::Host,
        ];
        let scopes = [
            Scope::Namespace,
            Scope::EachInterface,
            Scope::Named(vec!["eth0".to_owned(), "lo".to_owned()]),
            Scope::Index(3),
        ];
        let mut requests = vec![
            Request::Hello { engine_socket: None },
            Request::Hello { engine_socket: Some("/run/docker.sock".to_owned()) },
            Request::Dial,
        ];
        for (place, scope) in places.into_iter().zip(scopes) {
            let spec = Spec {
                program: Program::ret(64),
                fallback: Program::ret(0),
                geometry: Geometry::of_size(4 << 20, Duration::from_millis(8)),
                scope,
                promiscuous: true,
            };
            requests.push(Request::Look { place: place.clone() });
            requests.push(Request::Open { place, spec });
        }
        requests
    }

    #[test]
    fn every_request_reads_back() {
        for request in every_kind() {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }

    #[test]
    fn a_request_cut_short_or_too_long_is_refused() {
        for request in every_kind() {
            let mut bytes = request.encode();
            for length in 0..bytes.len() {
                assert_eq!(Request::decode(&bytes[..length]), None, "{request:?} at {length}");
            }
            bytes.push(0);
            assert_eq!(Request::decode(&bytes), None);
        }
    }
}
