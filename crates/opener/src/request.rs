//! What the opener can be asked for.

use std::time::Duration;

use model::{Instruction, Program};
use sys::{inotify::is_file_name, ring::Geometry};

use crate::codec::{Decoder, Encoder};

/// The number of these messages' form. Whoever changes what travels raises it, and a test with the
/// sum of all forms sees to that.
///
/// Most openers are the very program that asks them. One in a helper container is another file.
pub const PROTOCOL: u32 = 1;

/// The most interface names in one request.
pub const MAX_INTERFACES: usize = 64;

/// The most namespaces of one request.
pub(crate) const MAX_PLACES: usize = 16;

/// The longest path in a request, in bytes (`PATH_MAX` of `linux/limits.h`).
const MAX_PATH: usize = 4096;

/// Where a namespace is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A container's, through its first process. The engine's word for that process is not
    /// trusted: the container's id must stand in its cgroup, or in the command line of the engine's
    /// process that it is a child of, and where the sandbox file is visible it must be the same
    /// namespace.
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
    /// The one that is mounted on a file of a directory of the engine. Nothing is proved: the
    /// engine's own file is what says whose it is. Nor is it looked at what kind of namespace it
    /// is: beside containers' there are those of overlay networks (`1-…`, `lb_…`, `ingress_sbox`)
    /// and the host's (`default`).
    Sandbox {
        /// The number of the directory, of [`Opener::watch`](crate::Opener::watch).
        directory: u32,
        /// The file's name ([`sys::inotify::is_file_name`]).
        file: String,
    },
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

/// Where the engine is, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EngineAt {
    /// Nowhere on this machine, as far as is known.
    #[default]
    Unknown,
    /// Whoever listens on this socket, of which the opener is also to make connections.
    Socket(String),
    /// This process. The asking one has found that out, and makes connections itself.
    Process(u32),
}

/// A request as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Before everything else, where the engine is rootless: join the user namespace that comes with
    /// this message, and keep what is needed of the rights in there.
    Join,
    /// First of all: where the engine is. It begins with [`PROTOCOL`] in every version.
    Hello { engine: EngineAt },
    /// Open packet sockets in namespaces.
    Open { places: Vec<Place>, spec: Spec },
    /// Open a netlink socket in a namespace, and tell its identity.
    Look { place: Place },
    /// Connect to the engine's socket.
    Dial,
    /// Watch a directory of the engine's.
    Watch { directory: String },
    /// Wait for a directory of the engine's that is not there yet.
    Expect { directory: String },
    /// Tell which namespaces these are now, and nothing else of them.
    Identify { places: Vec<Place> },
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let out = Encoder::default();
        match self {
            Self::Hello { engine } => {
                let out = out.u8(0).u32(PROTOCOL);
                match engine {
                    EngineAt::Unknown => out.u8(0),
                    EngineAt::Socket(path) => out.u8(1).text(path),
                    EngineAt::Process(pid) => out.u8(2).u32(*pid),
                }
            }
            Self::Open { places, spec } => put_spec(out.u8(1).each(places, put_place), spec),
            Self::Look { place } => put_place(out.u8(2), place),
            Self::Dial => out.u8(3),
            Self::Watch { directory } => out.u8(4).text(directory),
            Self::Expect { directory } => out.u8(5).text(directory),
            Self::Join => out.u8(6),
            Self::Identify { places } => out.u8(7).each(places, put_place),
        }
        .finish()
    }

    /// The protocol of a greeting that is not of ours.
    pub(crate) fn foreign(bytes: &[u8]) -> Option<u32> {
        let mut from = Decoder::new(bytes);
        from.u8().filter(|kind| *kind == 0)?;
        from.u32().filter(|protocol| *protocol != PROTOCOL)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Decoder::new(bytes);
        let request = match from.u8()? {
            0 => {
                from.u32().filter(|protocol| *protocol == PROTOCOL)?;
                let engine = match from.u8()? {
                    0 => EngineAt::Unknown,
                    1 => EngineAt::Socket(from.text()?),
                    2 => EngineAt::Process(from.u32()?),
                    _ => return None,
                };
                Self::Hello { engine }
            }
            1 => Self::Open {
                places: from.each(MAX_PLACES, take_place)?,
                spec: take_spec(&mut from)?,
            },
            2 => Self::Look { place: take_place(&mut from)? },
            3 => Self::Dial,
            4 => Self::Watch { directory: take_path(&mut from)? },
            5 => Self::Expect { directory: take_path(&mut from)? },
            6 => Self::Join,
            7 => Self::Identify { places: from.each(MAX_PLACES, take_place)? },
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
        Place::Sandbox { directory, file } => out.u8(4).u32(*directory).text(file),
    }
}

fn take_place(from: &mut Decoder<'_>) -> Option<Place> {
    Some(match from.u8()? {
        0 => Place::Container { pid: from.u32()?, id: from.text()?, sandbox_key: from.text()? },
        1 => Place::Process { pid: from.u32()? },
        2 => Place::Netns { path: from.text()? },
        3 => Place::Host,
        4 => Place::Sandbox {
            directory: from.u32()?,
            file: from.text().filter(|file| is_file_name(file))?,
        },
        _ => return None,
    })
}

fn take_path(from: &mut Decoder<'_>) -> Option<String> {
    from.text().filter(|path| path.len() < MAX_PATH && !path.contains('\0'))
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
    use proptest::{
        collection::vec,
        prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest},
        sample,
    };

    use super::*;

    fn every_kind() -> Vec<Request> {
        let places = [
            Place::Container { pid: 7, id: "ab".repeat(32), sandbox_key: "/run/x".to_owned() },
            Place::Process { pid: 1 },
            Place::Netns { path: "/run/netns/a b".to_owned() },
            Place::Host,
            Place::Sandbox { directory: 7, file: "4f0e12ab34cd".to_owned() },
        ];
        let scopes = [
            Scope::Namespace,
            Scope::EachInterface,
            Scope::Named(vec!["eth0".to_owned(), "lo".to_owned()]),
            Scope::Index(3),
            Scope::Namespace,
        ];
        let mut requests = vec![
            Request::Hello { engine: EngineAt::Unknown },
            Request::Hello { engine: EngineAt::Socket("/run/docker.sock".to_owned()) },
            Request::Hello { engine: EngineAt::Process(7) },
            Request::Dial,
            Request::Watch { directory: "/run/docker/netns".to_owned() },
        ];
        let identify = Request::Identify { places: places.to_vec() };
        for (place, scope) in places.into_iter().zip(scopes) {
            let spec = Spec {
                program: Program::ret(64),
                fallback: Program::ret(0),
                geometry: Geometry::of_size(4 << 20, Duration::from_millis(8)),
                scope,
                promiscuous: true,
            };
            requests.push(Request::Look { place: place.clone() });
            requests.push(Request::Open { places: vec![place, Place::Host], spec });
        }
        requests.push(Request::Expect { directory: "/run/docker/netns".to_owned() });
        requests.extend([Request::Join, identify]);
        requests
    }

    #[test]
    fn every_request_reads_back() {
        for request in every_kind() {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }

    /// Whoever comes here because this fails: raise [`PROTOCOL`], too, unless no release has had it.
    #[test]
    fn the_protocol_has_its_number() {
        let sum = every_kind().iter().flat_map(Request::encode).fold(0xcbf2_9ce4_8422_2325, fnv);
        assert_eq!((PROTOCOL, sum), (1, 0x768e_eed9_4053_d4fd), "{sum:#x}");
        let mut greeting = Request::Hello { engine: EngineAt::Unknown }.encode();
        assert_eq!(Request::foreign(&greeting), None);
        greeting[1..5].copy_from_slice(&(PROTOCOL + 1).to_ne_bytes());
        assert_eq!(Request::foreign(&greeting), Some(PROTOCOL + 1));
        assert_eq!(Request::decode(&greeting), None);
        assert_eq!(Request::foreign(&Request::Dial.encode()), None);
    }

    fn fnv(sum: u64, byte: u8) -> u64 {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
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

    #[test]
    fn hostile_names_are_refused() {
        let long = "x".repeat(256);
        for file in ["", ".", "..", "../x", "/etc/passwd", "a\0b", "a b", "\x1b[2J", &long] {
            let place = Place::Sandbox { directory: 0, file: file.to_owned() };
            assert_eq!(Request::decode(&Request::Look { place }.encode()), None, "{file:?}");
        }
        for directory in ["/run\0/netns", &"/x".repeat(MAX_PATH / 2)] {
            let watch = Request::Watch { directory: directory.to_owned() };
            assert_eq!(Request::decode(&watch.encode()), None, "{directory:?}");
        }
    }

    fn any_place() -> impl Strategy<Value = Place> {
        prop_oneof![
            (any::<u32>(), ".{0,70}", ".{0,70}")
                .prop_map(|(pid, id, sandbox_key)| Place::Container { pid, id, sandbox_key }),
            any::<u32>().prop_map(|pid| Place::Process { pid }),
            ".{0,200}".prop_map(|path| Place::Netns { path }),
            Just(Place::Host),
            (any::<u32>(), "[!-.0-~]{3,255}")
                .prop_map(|(directory, file)| Place::Sandbox { directory, file }),
        ]
    }

    fn any_program() -> impl Strategy<Value = Program> {
        let instruction = (any::<u16>(), any::<u8>(), any::<u8>(), any::<u32>())
            .prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k });
        vec(instruction, 0..64).prop_map(Program)
    }

    fn any_scope() -> impl Strategy<Value = Scope> {
        prop_oneof![
            Just(Scope::Namespace),
            Just(Scope::EachInterface),
            vec(".{0,15}", 0..=MAX_INTERFACES).prop_map(Scope::Named),
            any::<u32>().prop_map(Scope::Index),
        ]
    }

    fn any_spec() -> impl Strategy<Value = Spec> {
        (any_program(), any_program(), any::<u32>(), any::<u32>(), any_scope(), any::<bool>())
            .prop_map(|(program, fallback, bytes, retire, scope, promiscuous)| {
                let geometry = Geometry::of_size(bytes, Duration::from_nanos(retire.into()));
                Spec { program, fallback, geometry, scope, promiscuous }
            })
    }

    fn any_engine() -> impl Strategy<Value = EngineAt> {
        prop_oneof![
            Just(EngineAt::Unknown),
            ".{0,100}".prop_map(EngineAt::Socket),
            any::<u32>().prop_map(EngineAt::Process),
        ]
    }

    fn any_request() -> impl Strategy<Value = Request> {
        prop_oneof![
            any_engine().prop_map(|engine| Request::Hello { engine }),
            (vec(any_place(), 0..=MAX_PLACES), any_spec())
                .prop_map(|(places, spec)| Request::Open { places, spec }),
            vec(any_place(), 0..=MAX_PLACES).prop_map(|places| Request::Identify { places }),
            any_place().prop_map(|place| Request::Look { place }),
            Just(Request::Dial),
            Just(Request::Join),
            "[^\0]{0,200}".prop_map(|directory| Request::Watch { directory }),
            "[^\0]{0,200}".prop_map(|directory| Request::Expect { directory }),
        ]
    }

    proptest! {
        #[test]
        fn any_request_reads_back(request in any_request()) {
            prop_assert_eq!(Request::decode(&request.encode()), Some(request));
        }

        #[test]
        fn what_reads_at_all_is_what_was_written(
            request in any_request(),
            at in any::<sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = request.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Some(other) = Request::decode(&bytes) {
                prop_assert_eq!(other.encode(), bytes);
            }
        }
    }
}
