use std::{collections::HashMap, time::Duration};

use bollard::{
    body_full,
    query_parameters::{ImportImageOptions, ListImagesOptions, RemoveImageOptions},
};
use futures_util::TryStreamExt as _;

use super::{HelperProgram, IMAGE_LABEL};
use crate::{Engine, Error};

/// How long an engine may take to load the image.
const LOAD_LIMIT: Duration = Duration::from_secs(60);

impl Engine {
    /// Loads the image of helper containers.
    ///
    /// # Errors
    /// [`Error::OtherArchitecture`], before anything is loaded; when the engine refuses.
    pub async fn load_helper(&self, program: &HelperProgram) -> Result<(), Error> {
        let engine = self.version().await?.arch;
        if engine != program.architecture() {
            return Err(Error::OtherArchitecture {
                endpoint: self.endpoint().to_owned(),
                engine,
                program: program.architecture(),
            });
        }
        let options = ImportImageOptions { quiet: true, ..Default::default() };
        let body = body_full(program.archive().into());
        let load = self.docker.import_image(options, body, None);
        let load = async { load.try_for_each(async |_| Ok(())).await };
        self.within(LOAD_LIMIT, async { load.await.map_err(|error| self.classify(error)) }).await
    }

    /// Removes the images of helper containers, whatever their release; their names, and why some
    /// could not be removed.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn prune_helper_images(&self) -> Result<(Vec<String>, Vec<Error>), Error> {
        let label = HashMap::from([("label".to_owned(), vec![IMAGE_LABEL.to_owned()])]);
        let options = ListImagesOptions { filters: Some(label), ..Default::default() };
        let listed = self.within_deadline(self.docker.list_images(Some(options))).await?;
        let (mut removed, mut failed) = (Vec::new(), Vec::new());
        for image in listed {
            let name = image.repo_tags.first().cloned().unwrap_or(image.id);
            let request = self.docker.remove_image(&name, None::<RemoveImageOptions>, None);
            match self.within_deadline(request).await {
                Ok(_) => removed.push(name),
                Err(error) => failed.push(error),
            }
        }
        Ok((removed, failed))
    }
}
