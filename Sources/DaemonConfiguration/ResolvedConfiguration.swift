/// The settings in force, with the origin of each and what an operator should be told.
public struct ResolvedConfiguration: Sendable, Equatable {
    /// The typed settings.
    public internal(set) var settings: Settings
    /// One entry for each option, in the order of the catalogue.
    public internal(set) var entries: [Entry]
    /// What is odd, one line each: unknown variables, ignored lines, secrets that others can read, a limit of 0.
    public internal(set) var warnings: [String]

    /// One option as it is listed by `config` and `/v1/config`.
    public struct Entry: Sendable, Equatable {
        /// The option.
        public let option: OptionName
        /// The value in its canonical text, secrets masked; empty where the option is off.
        public let value: String
        /// Where the value came from.
        public let source: ValueSource

        /// The option's texts.
        public var definition: OptionDefinition { OptionCatalogue[option] }
    }

    /// The entry of one option.
    public subscript(option: OptionName) -> Entry {
        // The loader makes an entry for every option.
        entries.first { $0.option == option }!
    }
}
