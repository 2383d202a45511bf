//! What an ended capture leaves to the one that follows it: its files, and who it was in them.

use crate::source::{OUTPUTS, Source};

/// A capture's place in the outputs, without the capture.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    /// Which outputs it wrote to.
    pub(crate) outputs: [Option<usize>; OUTPUTS],
    /// For each device name the number of its interface block in each output's present file.
    interfaces: Vec<(String, [Option<u32>; OUTPUTS])>,
}

impl Estate {
    /// What a source would leave if it ended now, with what was left to it and is not taken up.
    pub(crate) fn of(source: &Source) -> Self {
        let mut estate = Self { outputs: source.outputs, interfaces: Vec::new() };
        let own = source.slots.iter().map(|slot| (&*slot.interface.name, slot.numbers));
        let earlier = source.heritage.interfaces.iter();
        for (device, numbers) in earlier.map(|(device, numbers)| (&**device, *numbers)).chain(own) {
            if numbers.iter().all(Option::is_none) {
                continue;
            }
            // The last description of a device is the one in force.
            match estate.interfaces.iter_mut().find(|(known, _)| known == device) {
                Some((_, known)) => *known = numbers,
                None => estate.interfaces.push((device.to_owned(), numbers)),
            }
        }
        estate
    }

    /// The number that a device has in an output's present file.
    pub(crate) fn number(&self, device: &str, which: usize) -> Option<u32> {
        let (_, numbers) = self.interfaces.iter().find(|(known, _)| known == device)?;
        numbers[which]
    }

    /// An output begins a new file, in which nothing has a number yet.
    pub(crate) fn forget_file(&mut self, output: usize) {
        for which in 0..OUTPUTS {
            if self.outputs[which] == Some(output) {
                self.interfaces.iter_mut().for_each(|(_, numbers)| numbers[which] = None);
            }
        }
        self.interfaces.retain(|(_, numbers)| numbers.iter().any(Option::is_some));
    }
}
