//! Virtual patients, devices and servers with bad manners: what we test with, and users can too.
