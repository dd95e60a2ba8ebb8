/// Which decisions become spans: the samplers of OpenTelemetry's that need nothing but the trace.
package struct TraceSampler: Hashable, Sendable {
    /// What decides of a trace.
    package enum Root: Hashable, Sendable {
        case always
        case never
        /// So many of 2^63 traces, by their numbers: programs with the same share agree on a trace.
        case share(UInt64)
    }

    /// Decides where no caller does.
    package var root: Root
    /// Whether a caller's own decision is followed.
    package var followsParent: Bool

    /// Makes one.
    package init(_ root: Root, followsParent: Bool) {
        self.root = root
        self.followsParent = followsParent
    }

    /// Whether a decision becomes a span.
    ///
    /// - Parameters:
    ///   - parent: what the caller says of the trace, where it does.
    ///   - low: the last 8 bytes of the trace's number.
    package func samples(_ parent: TraceContext?, low: UInt64) -> Bool {
        if followsParent, let parent { return parent.isSampled }
        return switch root {
        case .always: true
        case .never: false
        case .share(let bound): low >> 1 < bound
        }
    }
}

extension TraceSampler.Root {
    /// A share in millionths of all traces, 0 to 1,000,000.
    package init(millionths: Int) {
        precondition((0...1_000_000).contains(millionths), "a share is not above all")
        self = millionths == 1_000_000 ? .always : .share((1 << 63) / 1_000_000 * UInt64(millionths))
    }
}
