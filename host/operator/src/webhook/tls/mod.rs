//! Certificates of the webhook. Does I/O, except for [`rotation`].
//!
//! * [`rotation`]: creation and rotation of certificates;
//! * [`secret`]: storage of the certificates in a Secret, and updates of the CA bundles in the webhook configurations
//!   ([`ca_bundle`]);
//! * [`files`]: certificates from another issuer, such as cert-manager;
//! * [`resolver`]: the certificate that is served, replaced while connections are open.

pub(crate) mod ca_bundle;
pub(crate) mod files;
pub(crate) mod resolver;
pub(crate) mod rotation;
pub(crate) mod secret;
