import RedisClient

/// What a command's reply must be, where it is no error. A reply of another form is another command's: whatever comes
/// behind it cannot be believed either.
enum ReplyForm {
    /// Whatever comes.
    case any
    case integer
    case status
    /// A text, or none.
    case text
    case array
    /// An array of texts and nothing else.
    case texts

    /// Whether a reply may be the answer.
    func fits(_ reply: Reply) -> Bool {
        switch (self, reply.elements.first) {
        case (_, .error?), (.any, _), (.integer, .integer?), (.status, .status?): true
        case (.text, .bulk?), (.text, .null?), (.array, .array?): true
        case (.texts, .array?): reply.texts != nil
        default: false
        }
    }
}
