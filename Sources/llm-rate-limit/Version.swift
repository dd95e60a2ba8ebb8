/// The version of this program, in the one place where it is written.
let programVersion = "0.2.0"
