//! Message server: MQTT edge, directory, presence, pushes.
