//! Engine with a cache of compiled components, as the operator and all commands set it up.
//!
//! Reads environment variables, and opens the folder of the cache.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dask_operator_runtime::{Cache, CompilerProgram, Engine, EngineConfig, EngineError};

/// An engine, and the state of its cache.
#[derive(Debug)]
pub struct CachedEngine {
    /// The engine.
    pub engine: Engine,
    /// Folder of the cache; `None` if the engine has no cache.
    pub cache_dir: Option<PathBuf>,
    /// The reason why the user's cache folder is not used. Without a cache, only starts take longer.
    pub cache_problem: Option<String>,
}

/// Creates an engine that caches compiled components in the folder `cache_dir`, or else in the user's cache folder. If the
/// latter can't be used, the engine has no cache.
///
/// `config` has everything but the cache. `compiler` returns the program that compiles into the folder of the cache, or
/// `None` if this process compiles.
///
/// # Errors
///
/// Returns an error if there is no engine for this machine, or if the folder `cache_dir` can't be used.
pub fn cached_engine(
    cache_dir: Option<&Path>,
    config: &EngineConfig,
    compiler: impl FnOnce(&Path) -> Option<CompilerProgram>,
) -> Result<CachedEngine, EngineError> {
    let Some(dir) = cache_dir.map(Path::to_owned).or_else(user_cache_dir) else {
        return uncached_engine(config, None);
    };
    let cached = Engine::new(EngineConfig {
        cache: Some(Cache {
            compiler: compiler(&dir),
            dir: dir.clone(),
        }),
        ..config.clone()
    });
    match cached {
        Ok(engine) => Ok(CachedEngine {
            engine,
            cache_dir: Some(dir),
            cache_problem: None,
        }),
        Err(error @ EngineError::CacheDir { .. }) if cache_dir.is_none() => {
            uncached_engine(config, Some(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

fn uncached_engine(
    config: &EngineConfig,
    cache_problem: Option<String>,
) -> Result<CachedEngine, EngineError> {
    Ok(CachedEngine {
        engine: Engine::new(config.clone())?,
        cache_dir: None,
        cache_problem,
    })
}

/// Returns the folder for compiled components below the user's cache folder; `None` if the latter is unknown.
fn user_cache_dir() -> Option<PathBuf> {
    cache_dir_of(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
}

/// Returns the folder for compiled components, for these values of `XDG_CACHE_HOME` and `HOME`.
fn cache_dir_of(cache_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let base = cache_home.map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(home?).join(".cache")));
    Some(base?.join("dask-operator").join("components"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Some("/cache"), Some("/home/me"), Some("/cache/dask-operator/components"))]
    #[case(None, Some("/home/me"), Some("/home/me/.cache/dask-operator/components"))]
    #[case(None, None, None)]
    fn finds_the_cache_folder_of_the_user(
        #[case] cache_home: Option<&str>,
        #[case] home: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let dir = cache_dir_of(cache_home.map(Into::into), home.map(Into::into));
        assert_eq!(dir, expected.map(PathBuf::from));
    }

    #[test]
    fn a_configured_folder_is_used_or_refused() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("cache");
        let created = cached_engine(Some(&dir), &EngineConfig::default(), |_| None);
        let created = created.map(|created| (created.cache_dir, created.cache_problem));
        assert!(matches!(created, Ok((Some(found), None)) if found == dir));

        let file = tempfile::NamedTempFile::new()?;
        let refused = cached_engine(Some(file.path()), &EngineConfig::default(), |_| None);
        assert!(matches!(refused, Err(EngineError::CacheDir { .. })));
        Ok(())
    }
}
