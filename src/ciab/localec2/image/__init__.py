"""Machines with real systemd, cloud-init and sshd in namespaces of their own. Linux and root, for tests."""
