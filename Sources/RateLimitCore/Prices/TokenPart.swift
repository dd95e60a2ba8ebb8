/// What some tokens of the input or the output are: each is a part of its ``kind``, counted there, and may have a rate of
/// its own.
public enum TokenPart: String, CaseIterable, Hashable, Sendable {
    /// What the model thought, of the output.
    case reasoning
    /// Sound, of the input.
    case audioInput = "audio_input"
    /// Pictures, of the input.
    case imageInput = "image_input"
    /// Sound, of the output.
    case audioOutput = "audio_output"
    /// Pictures, of the output.
    case imageOutput = "image_output"

    /// What it is a part of.
    public var kind: TokenKind {
        switch self {
        case .audioInput, .imageInput: .input
        case .reasoning, .audioOutput, .imageOutput: .output
        }
    }
}

/// A value for each ``TokenPart``.
public struct PerTokenPart<Value> {
    private var reasoning, audioInput, imageInput, audioOutput, imageOutput: Value

    /// Makes a value for each part.
    @inlinable
    public init(_ value: (TokenPart) -> Value) {
        self.init(
            value(.reasoning), value(.audioInput), value(.imageInput), value(.audioOutput), value(.imageOutput))
    }

    @usableFromInline
    init(_ reasoning: Value, _ audioInput: Value, _ imageInput: Value, _ audioOutput: Value, _ imageOutput: Value) {
        self.reasoning = reasoning
        self.audioInput = audioInput
        self.imageInput = imageInput
        self.audioOutput = audioOutput
        self.imageOutput = imageOutput
    }

    /// The value of a part.
    public subscript(_ part: TokenPart) -> Value {
        get {
            switch part {
            case .reasoning: reasoning
            case .audioInput: audioInput
            case .imageInput: imageInput
            case .audioOutput: audioOutput
            case .imageOutput: imageOutput
            }
        }
        set {
            switch part {
            case .reasoning: reasoning = newValue
            case .audioInput: audioInput = newValue
            case .imageInput: imageInput = newValue
            case .audioOutput: audioOutput = newValue
            case .imageOutput: imageOutput = newValue
            }
        }
    }
}

extension PerTokenPart: Equatable where Value: Equatable {}
extension PerTokenPart: Hashable where Value: Hashable {}
extension PerTokenPart: Sendable where Value: Sendable {}
