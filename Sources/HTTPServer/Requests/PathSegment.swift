import RateLimitCore

/// Reads a user or a group from one segment of a path: percent-encoding is resolved, and `+` stands for itself.
///
/// A path is split before anything in it is resolved, so that `%2F` is a slash of the text and ends no segment.
enum PathSegment {
    static func user(_ segment: Substring) throws(RequestError) -> SubjectID {
        guard let user = subject(segment) else { throw .invalidUser }
        return user
    }

    static func group(_ segment: Substring) throws(RequestError) -> SubjectID {
        guard let group = subject(segment) else { throw .invalidGroup }
        return group
    }

    private static func subject(_ segment: Substring) -> SubjectID? {
        Array(segment.utf8).withUnsafeBytes { bytes in
            QueryParameters.decoded(bytes, plusIsBlank: false) { SubjectID($0) } ?? nil
        }
    }
}
