//! Page allocation inside the volume.
