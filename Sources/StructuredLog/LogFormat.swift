/// How a line of the log looks.
public enum LogFormat: String, Sendable, CaseIterable {
    /// One JSON object: `{"time":"2026-11-21T10:00:00.000Z","level":"info","message":"ready","key":"value"}`.
    case json
    /// For people: `2026-11-21T10:00:00.000Z info ready key=value`.
    case text
}
