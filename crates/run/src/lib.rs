//! Instances and the execution of OCI runtime specs
