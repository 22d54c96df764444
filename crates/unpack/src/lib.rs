//! Safe extraction of layers and the layer store
