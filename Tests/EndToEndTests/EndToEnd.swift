import TestSupport
import Testing

/// Tests of the built program against real redis-servers.
///
/// One after the other: each may load the machine, and some print times.
@Suite("End to end", .serialized)
enum EndToEnd {}
