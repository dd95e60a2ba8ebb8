/// A configuration of envoyproxy/ratelimit with requests in order, all within one window, and what its documented rules
/// make of each, under the semantics that are decided here.
///
/// Nothing of it knows how the daemon matches or counts: `EnvoyReferenceModel` reads the very text of the file.
package struct EnvoyReferenceCase: Sendable {
    /// One key with its value.
    package struct Entry: Sendable, CustomStringConvertible {
        package var key: String
        package var value: String

        package var description: String { "\(key)=\(value)" }
    }

    /// So many requests in so many units.
    package struct Quota: Equatable, Sendable {
        package var requestsPerUnit: Int
        /// In lower case.
        package var unit: String
        package var multiplier: Int
    }

    /// A descriptor of a request.
    package struct Descriptor: Sendable {
        package var entries: [Entry]
        /// What the proxy gives in place of the file's.
        package var ownQuota: Quota?
        /// Its own hits: 0 peeks, more is a report. Nil asks for the request's.
        package var hits: Int?
    }

    /// A request.
    package struct Request: Sendable {
        package var descriptors: [Descriptor]
        /// The hits of descriptors that do not say their own.
        package var hits: Int
    }

    /// Which limit a descriptor meets.
    package struct Met: Equatable, Sendable {
        /// Where it stands, without the domain, as its metric has it.
        package var path: String
        package var name: String?
        /// Nil is unlimited.
        package var quota: Quota?
        package var isShadow = false
        package var isQuotaMode = false
        /// What the window is called by the reference; nil where it is unlimited. One name is one window in all requests of
        /// a case.
        package var window: String?
    }

    /// How one descriptor stands after a request.
    package struct Status: Sendable {
        /// Nil where no limit applies.
        package var met: Met?
        /// Whether it has not as much as was asked for, be it a shadow or not.
        package var isOver = false
        /// What is left; nil where no limit applies, and where it is unlimited.
        package var remaining: Int?

        /// Whether the status has the code OVER_LIMIT: a shadow has not.
        package var isCodeOverLimit: Bool { isOver && met?.isShadow == false }
    }

    /// A request with what it comes to.
    package struct Step: Sendable {
        package var request: Request
        /// Whether the request is denied by what asks: what is only reported denies nothing.
        package var isDenied: Bool
        /// In the order of the descriptors.
        package var statuses: [Status]
    }

    /// From 0.
    package var number: Int
    package var domain: String
    /// The file.
    package var yaml: String
    package var steps: [Step]

    /// How many there are.
    package static let count = 300

    /// The same cases in each run.
    package static func all() -> [EnvoyReferenceCase] {
        (0..<count).map { number in
            var generator = EnvoyReferenceGenerator(number: number)
            return generator.makeCase()
        }
    }
}
