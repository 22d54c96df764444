//! registries.conf, certs.d and the own configuration.
