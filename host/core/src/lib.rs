//! The operator's pure logic: the gate, finished children, what differs, back-off. No I/O.
