//! The pcapng and classic pcap formats: a block writer and a lenient reader.
