//! Account server: system of record for users, devices, applications and bindings.
