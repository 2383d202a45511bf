/// A reference to an image, in docker's grammar: `[domain/]path[:tag][@digest]`.
///
/// Source: `distribution/reference`, "familiar names": the domain `docker.io` and its namespace
/// `library` may be left out.
#[derive(Debug, PartialEq, Eq)]
struct ImageReference<'a> {
    /// Domain and path, without what may be left out.
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> ImageReference<'a> {
    fn read(text: &'a str) -> Self {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon before a slash is a registry's port.
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (name, None),
        };
        let path = ["docker.io/", "index.docker.io/"]
            .into_iter()
            .find_map(|domain| path.strip_prefix(domain))
            .unwrap_or(path);
        let path = path
            .strip_prefix("library/")
            .filter(|official| !official.contains('/'))
            .unwrap_or(path);
        Self { path, tag, digest }
    }
}

/// Whether what the user wrote (`wanted`) means the image that a container was made from (`image`,
/// as its maker wrote it): `nginx` takes every tag and digest, `nginx:1.27` and `nginx@sha256:…`
/// only themselves. An image without a tag is `latest`.
pub(crate) fn means(wanted: &str, image: &str) -> bool {
    if wanted == image {
        return true;
    }
    let (wanted, image) = (ImageReference::read(wanted), ImageReference::read(image));
    let tag = match (image.tag, image.digest) {
        (None, None) => Some("latest"),
        (tag, _) => tag,
    };
    wanted.path == image.path
        && (wanted.tag.is_none() || wanted.tag == tag)
        && (wanted.digest.is_none() || wanted.digest == image.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_mean_what_docker_means() {
        for (wanted, image, expected) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx:1.27", true),
            ("nginx", "nginx@sha256:ab", true),
            ("nginx", "nginx:1.27@sha256:ab", true),
            ("nginx:1.27", "nginx:1.27", true),
            ("nginx:1.27", "nginx:1.27@sha256:ab", true),
            ("nginx:1.27", "nginx:1.27-alpine", false),
            ("nginx:1.27", "nginx", false),
            ("nginx:latest", "nginx", true),
            ("nginx:latest", "nginx@sha256:ab", false),
            ("nginx@sha256:ab", "nginx:1@sha256:ab", true),
            ("nginx@sha256:ab", "nginx:1", false),
            ("library/nginx", "nginx:1", true),
            ("nginx", "docker.io/library/nginx:1", true),
            ("index.docker.io/library/nginx:1", "nginx:1", true),
            ("docker.io/team/app", "team/app:2", true),
            ("app", "team/app", false),
            ("library/team/app", "team/app", false),
            ("registry:5000/app", "registry:5000/app:1", true),
            ("registry:5000/app", "registry/app:1", false),
            ("registry", "registry:5000/app", false),
            ("nginx", "nginx-exporter", false),
            ("sha256:abcd", "sha256:abcd", true),
            ("sha256:abcd", "sha256:abce", false),
        ] {
            assert_eq!(means(wanted, image), expected, "{wanted} {image}");
        }
    }
}
