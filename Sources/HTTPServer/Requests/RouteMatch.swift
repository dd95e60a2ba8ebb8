import RateLimitCore

/// A request whose route has been found. What the routes read of it is in methods, one for each handler of the table.
struct RouteMatch: Sendable {
    let request: Router.Request
    let pattern: RoutePattern
    /// The segments of the path, still encoded.
    let segments: [Substring]
    /// What follows the `?`, still encoded.
    let query: [UInt8]

    /// The text in the place of a parameter, which the pattern must have.
    private subscript(_ parameter: String) -> Substring {
        guard let place = pattern.place(of: parameter) else {
            preconditionFailure("\(pattern) has no <\(parameter)>")
        }
        return segments[place]
    }
}

extension RouteMatch {
    /// Who stands in the place of `<user>`.
    var user: SubjectID {
        get throws(RequestError) { try PathSegment.user(self["user"]) }
    }

    /// The group in the place of `<group>`.
    var group: SubjectID {
        get throws(RequestError) { try PathSegment.group(self["group"]) }
    }

    /// The body as `read` makes it, where there is one and it does not say it is something else than JSON.
    func body<Body>(
        _ read: (UnsafeRawBufferPointer) throws(RequestError) -> Body
    ) throws(RequestError) -> Body {
        guard request.hasLength else { throw .lengthRequired }
        try requireJSON()
        return try Router.withBytes(request.body, read)
    }

    /// The same, where the body names the user: without one there is nobody to decide for.
    func bodyWithUser<Body>(
        _ read: (UnsafeRawBufferPointer) throws(RequestError) -> Body
    ) throws(RequestError) -> Body {
        guard request.hasLength else { throw .lengthRequired }
        guard !request.body.isEmpty else { throw .missingUser }
        return try body(read)
    }

    private func requireJSON() throws(RequestError) {
        guard let contentType = request.contentType else { return }
        let isJSON = Array(contentType.utf8).withUnsafeBytes { FastPath.isJSON($0) }
        guard isJSON else { throw .unsupportedMediaType }
    }
}
