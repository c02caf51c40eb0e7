//! Where is somebody signed in? Desktop sessions, as their application told.

/// The device that a desktop session was opened on, in its application's
/// words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesktopDevice {
    /// For example "Ada's laptop".
    pub device_name: String,
    /// For example "windows", "macos", "linux".
    pub platform: String,
    /// The application's version.
    pub app_version: String,
}
