/// Everything there is to know of one option: its names, its texts, and how its text becomes a setting.
public struct OptionDefinition: Sendable {
    /// The option, which gives the variable and the flag.
    public let name: OptionName
    /// The section in which it is listed.
    public let section: OptionSection
    /// One line that says what the option does.
    public let summary: String
    /// Completes the sentence "accepted are …".
    public let accepted: String
    /// Stands for the value in a command's help.
    public let placeholder: String
    /// The default as it would be written; empty where the option is off by default.
    public let defaultText: String
    /// Whether the value may hold a secret, and is therefore only shown masked.
    public let isSecret: Bool
    /// Whether the values are yes and no, so that the flag alone can stand for yes.
    public let isSwitch: Bool
    /// Whether a change takes effect on reload (SIGHUP), without a restart.
    public let isReloadable: Bool

    /// Puts a text into the settings.
    let apply: @Sendable (String, inout Settings) throws(ValueRejection) -> Void
    /// The setting in its canonical text, masked.
    let render: @Sendable (Settings) -> String
    /// Whether two settings agree in this option, secrets included.
    let isSame: @Sendable (Settings, Settings) -> Bool
    /// Takes this option's setting over from the first to the second.
    let copy: @Sendable (Settings, inout Settings) -> Void
    private let mask: @Sendable (String) -> String

    init<Value>(
        _ name: OptionName,
        in section: OptionSection,
        _ keyPath: any WritableKeyPath<Settings, Value> & Sendable,
        _ syntax: ValueSyntax<Value>,
        reloadable: Bool = false,
        masking: (@Sendable (String) -> String)? = nil,
        summary: String
    ) {
        self.name = name
        self.section = section
        self.summary = summary
        accepted = syntax.accepted
        placeholder = syntax.placeholder
        defaultText = syntax.render(Settings()[keyPath: keyPath])
        isSecret = masking != nil
        isSwitch = Value.self == Bool.self
        isReloadable = reloadable
        apply = { text, settings throws(ValueRejection) in settings[keyPath: keyPath] = try syntax.parse(text) }
        render = { settings in syntax.render(settings[keyPath: keyPath]) }
        isSame = { one, other in one[keyPath: keyPath] == other[keyPath: keyPath] }
        copy = { source, target in target[keyPath: keyPath] = source[keyPath: keyPath] }
        mask = masking ?? { $0 }
    }

    /// A text that was given for this option with what may be a secret masked; the same text for an option without.
    public func masked(_ text: String) -> String { mask(text) }

    /// A text that was refused, as it may be shown: secrets masked, on one line, at most 80 characters.
    func shown(_ text: String) -> String {
        printable(mask(text))
    }
}

/// A text from outside on one line: control characters escaped, the end of a long text left out.
func printable(_ text: String, maximumCharacters: Int = 80) -> String {
    var shown = ""
    for scalar in text.unicodeScalars.prefix(maximumCharacters) {
        // Beside the control characters, those that turn the direction of writing could forge a line.
        let isSafe = scalar.properties.generalCategory != .control && scalar.properties.generalCategory != .format
        shown += isSafe ? String(scalar) : scalar.escaped(asASCII: true)
    }
    return text.unicodeScalars.count > maximumCharacters ? shown + "…" : shown
}
