use model::{Connection, Direction, Hatype, Instruction, LinkType, PacketType, Program, Snaplen};

use crate::{
    Compiled, Error, Packet, TagPlace, Verdict, Verified, check, exclusion::exclusion, opcode,
};

/// What becomes of a namespace's frames: the program for its socket, and what is left to do in
/// user space.
///
/// One socket sees all interfaces of a namespace, so the program begins with what is the same for
/// all and then goes to the expression's program by hardware type:
///
/// ```text
///   direction; the outgoing twin on loopback ──► refuse
///   hardware type ─┬─ Ethernet, loopback ──► program for Ethernet
///                  ├─ tun, ipip, sit, … ───► program for raw IP
///                  └─ any other ───────────► accept; decided in user space as Linux cooked v2
/// ```
///
/// On loopback each frame reaches a tap twice, going out and coming in. Like libpcap we keep the
/// second, so `Direction::Out` sees nothing there.
#[derive(Debug, Clone)]
pub struct Plan {
    snaplen: Snaplen,
    kernel: Program,
    prologue: Program,
    parts: Vec<Part>,
    never: Vec<Never>,
    vlan_in_user_space: Option<String>,
}

/// A link type on which the expression matches nothing, because it does not compile for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Never {
    /// The link type.
    pub link_type: LinkType,
    /// Why, in libpcap's words.
    pub message: String,
}

/// One link type's share of a plan.
#[derive(Debug, Clone)]
struct Part {
    link_type: LinkType,
    program: Program,
    verified: Verified,
    tag: TagPlace,
    /// Why the kernel cannot decide about frames of this type; `None` when it does.
    in_user_space: Option<String>,
}

impl Part {
    fn new(link_type: LinkType, program: &Program, tag: TagPlace) -> Result<Self, Error> {
        let verified = Verified::new(program)?;
        let mut part =
            Self { link_type, program: program.clone(), verified, tag, in_user_space: None };
        if part.takes_everything() {
            return Ok(part);
        }
        part.in_user_space = if link_type == LinkType::LINUX_SLL2 {
            // What is written as Linux cooked is not Linux cooked on the socket.
            Some("frames of this kind of device have no link type of their own".to_owned())
        } else if tag == TagPlace::InFrame {
            Some("it looks for a VLAN tag where the kernel does not have it".to_owned())
        } else {
            // A loop, most likely: `protochain`.
            check(program).err().map(|error| format!("the kernel cannot run it: {error}"))
        };
        Ok(part)
    }

    fn takes_everything(&self) -> bool {
        matches!(self.program.0[..], [Instruction { code: 0x06, k: 1.., .. }])
    }
}

impl Plan {
    /// Composes the plan for an expression and a direction.
    ///
    /// # Errors
    /// When one of the programs does not pass [`check()`], or asks for what the interpreter does
    /// not know. Programs of [`Expression::compile`](crate::Expression::compile) do neither.
    pub fn compose(compiled: &Compiled, direction: Direction) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut never = Vec::new();
        for (link_type, verdict) in &compiled.verdicts {
            match verdict {
                Verdict::Program { program, tag } => {
                    parts.push(Part::new(*link_type, program, *tag)?);
                }
                Verdict::Never { message } => {
                    never.push(Never { link_type: *link_type, message: message.clone() });
                }
            }
        }

        let accept = ret(compiled.snaplen.bytes());
        let mut prologue = prologue(direction);
        prologue.push(accept);
        let prologue = Program(prologue);
        check(&prologue)?;

        let everything = parts.len() == compiled.verdicts.len()
            && !parts.is_empty()
            && parts.iter().all(Part::takes_everything);
        let composed = if everything {
            prologue.clone()
        } else {
            compose(direction, compiled.snaplen, &parts)
        };
        let kernel = fitting(composed, &prologue, &mut parts);
        check(&kernel)?;
        let (snaplen, vlan) = (compiled.snaplen, compiled.vlan_in_user_space.clone());
        Ok(Self { snaplen, kernel, prologue, parts, never, vlan_in_user_space: vlan })
    }

    /// The same plan without the frames of one connection: the kernel refuses them before it looks
    /// at anything else, with [`Plan::prologue`] too. Frames of devices without a mapping
    /// ([`LinkType::of`]) are not recognized.
    #[must_use]
    pub fn without(mut self, connection: &Connection) -> Self {
        let before =
            |program: &Program| Program([exclusion(connection), program.0.clone()].concat());
        let prologue = before(&self.prologue);
        let kernel = fitting(before(&self.kernel), &prologue, &mut self.parts);
        Self { kernel, prologue, ..self }
    }

    /// The program for the socket.
    #[must_use]
    pub fn kernel(&self) -> &Program {
        &self.kernel
    }

    /// The program without the expression, for kernels that refuse [`Plan::kernel`] because it is
    /// too long for the socket's option memory (`net.core.optmem_max`). With it every frame has to
    /// pass [`Plan::accepts`].
    #[must_use]
    pub fn prologue(&self) -> &Program {
        &self.prologue
    }

    /// The program that refuses every frame: for a socket that is about to be drained.
    #[must_use]
    pub fn refuse_all() -> Program {
        Program::ret(0)
    }

    /// Bytes kept of an accepted frame.
    #[must_use]
    pub fn snaplen(&self) -> Snaplen {
        self.snaplen
    }

    /// Whether [`Plan::kernel`] settles all there is to settle about the frames of a device. If
    /// not, those that it lets pass have to pass [`Plan::accepts`] too.
    #[must_use]
    pub fn kernel_decides(&self, hatype: Hatype) -> bool {
        let link_type = LinkType::of(hatype).unwrap_or(LinkType::LINUX_SLL2);
        match self.part(link_type) {
            Some(part) => part.in_user_space.is_none(),
            // Frames that are never wanted are refused by the kernel, if it has the expression.
            None => self.kernel != self.prologue,
        }
    }

    /// Whether a frame is wanted: how many bytes to keep, 0 for none.
    ///
    /// `packet.data` begins with the header of `link_type`: for a device without a mapping
    /// ([`LinkType::of`]) that is the Linux cooked header, version 2. A VLAN tag that the kernel
    /// took out is in `packet.vlan`; it is put where the program looks for it. Direction is the
    /// kernel program's business, and not looked at.
    ///
    /// A frame that was cut short is judged by the bytes that are left, as in libpcap.
    #[must_use]
    pub fn accepts(&self, link_type: LinkType, packet: &Packet<'_>) -> u32 {
        match self.part(link_type) {
            None => 0,
            Some(Part { verified, tag: TagPlace::Metadata, .. }) => verified.run(packet),
            Some(Part { verified, tag: TagPlace::InFrame, .. }) => {
                verified.run_with_tag_in_frame(packet)
            }
        }
    }

    /// The program that [`Plan::accepts`] runs for a link type, and where it looks for a VLAN tag;
    /// `None` where the expression matches nothing.
    #[must_use]
    pub fn program_for(&self, link_type: LinkType) -> Option<(&Program, TagPlace)> {
        self.part(link_type).map(|part| (&part.program, part.tag))
    }

    /// Link types on which the expression matches nothing.
    #[must_use]
    pub fn never(&self) -> &[Never] {
        &self.never
    }

    /// Why the expression has to be evaluated in user space for devices with this link type, for
    /// people to read; `None` when the kernel does it, or nobody has to.
    ///
    /// For [`LinkType::LINUX_SLL2`] that is always so, unless everything is wanted. For others it
    /// is so with `vlan` when the expression could not be compiled for a socket, with
    /// `protochain`, and with programs that are too long for any kernel.
    #[must_use]
    pub fn in_user_space(&self, link_type: LinkType) -> Option<&str> {
        let part = self.part(link_type)?;
        let vlan = self.vlan_in_user_space.as_deref().filter(|_| part.tag == TagPlace::InFrame);
        vlan.or(part.in_user_space.as_deref())
    }

    fn part(&self, link_type: LinkType) -> Option<&Part> {
        self.parts.iter().find(|part| part.link_type == link_type)
    }
}

/// The program, if the kernel takes as long a one: otherwise the prologue, behind which the
/// expression is evaluated in user space.
fn fitting(program: Program, prologue: &Program, parts: &mut [Part]) -> Program {
    let length = program.0.len();
    if length <= Program::MAX_INSTRUCTIONS {
        return program;
    }
    for part in parts.iter_mut().filter(|part| !part.takes_everything()) {
        let reason = || format!("it has {length} instructions, the kernel takes 4096");
        part.in_user_space.get_or_insert_with(reason);
    }
    prologue.clone()
}

const fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

const fn ret(bytes: u32) -> Instruction {
    op(opcode::RET | opcode::K, 0, 0, bytes)
}

const fn load_ancillary(number: u32) -> Instruction {
    op(opcode::LD | opcode::W | opcode::ABS, 0, 0, opcode::ANCILLARY + number)
}

/// Jumps by `jt` or `jf` as the accumulator equals `k` or not.
const fn jump_equal(k: u32, jt: u8, jf: u8) -> Instruction {
    op(opcode::JMP | opcode::JEQ | opcode::K, jt, jf, k)
}

/// Refuses frames of the wrong direction and the outgoing twin on loopback; others go on behind
/// it.
///
/// libpcap does the same in user space (`linux_check_direction` of its `pcap-linux.c`), which costs
/// a copy of each refused frame and shows in its count of received ones.
fn prologue(direction: Direction) -> Vec<Instruction> {
    let packet_type = load_ancillary(opcode::AD_PKTTYPE);
    let outgoing = u32::from(PacketType::Outgoing.raw());
    let hatype = load_ancillary(opcode::AD_HATYPE);
    let loopback = u32::from(Hatype::LOOPBACK.0);
    match direction {
        // The twin is outgoing, so it goes as well.
        Direction::In => vec![packet_type, jump_equal(outgoing, 0, 1), ret(0)],
        Direction::Out => vec![
            packet_type,
            jump_equal(outgoing, 0, 2),
            hatype,
            jump_equal(loopback, 0, 1),
            ret(0),
        ],
        Direction::InOut => vec![
            packet_type,
            jump_equal(outgoing, 0, 3),
            hatype,
            jump_equal(loopback, 0, 1),
            ret(0),
        ],
    }
}

/// The whole program. Conditional jumps reach 255 instructions, so expressions are reached by
/// unconditional ones, whose reach has no limit.
fn compose(direction: Direction, snaplen: Snaplen, parts: &[Part]) -> Program {
    let accept = ret(snaplen.bytes());
    let mut head = prologue(direction);
    head.push(load_ancillary(opcode::AD_HATYPE));
    let mut bodies: Vec<Instruction> = Vec::new();
    // Where in `head` the jump stands that leads to an offset in `bodies`.
    let mut leaps: Vec<(usize, usize)> = Vec::new();

    let mapped: Vec<Hatype> =
        (0..=u16::MAX).map(Hatype).filter(|hatype| LinkType::of(*hatype).is_some()).collect();
    let mut seen: Vec<LinkType> = Vec::new();
    for link_type in mapped.iter().filter_map(|hatype| LinkType::of(*hatype)) {
        if seen.contains(&link_type) {
            continue;
        }
        seen.push(link_type);
        let start = bodies.len();
        match parts.iter().find(|part| part.link_type == link_type) {
            Some(Part { program, in_user_space: None, .. }) => bodies.extend(&program.0),
            Some(_) => bodies.push(accept),
            None => bodies.push(ret(0)),
        }
        for hatype in mapped.iter().filter(|hatype| LinkType::of(**hatype) == Some(link_type)) {
            head.push(jump_equal(u32::from(hatype.0), 0, 1));
            leaps.push((head.len(), start));
            head.push(op(opcode::JMP | opcode::JA, 0, 0, 0));
        }
    }
    let cooked = parts.iter().any(|part| part.link_type == LinkType::LINUX_SLL2);
    head.push(if cooked { accept } else { ret(0) });

    for (at, start) in leaps {
        let distance = head.len() - (at + 1) + start;
        head[at].k = u32::try_from(distance).unwrap_or(u32::MAX);
    }
    head.extend(bodies);
    Program(head)
}
